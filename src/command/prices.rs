//! `heliometer prices`

use std::{
    io::Write,
    path::{Path, PathBuf},
};

use super::CommandError;
use crate::{
    domain::{Clock, SystemClock, UtcMillis},
    pricing::{
        Component, Entry, Pattern, PriceBook, PriceColumn, TieredPrices, UnitPrice, Unpriced,
        import::ForeignFormat,
        load::{check_book, read_bounded},
        parse_moment,
        write::book_file,
    },
    settings::Settings,
    usage::{ServiceTier, Usage},
};

/// The price book: look into it, check files, bring in others' lists, see how a cost comes about.
///
/// The book says what a call costs where neither the gateway nor the provider does. `pricing.book_dir`,
/// `pricing.overrides_files` and `[[pricing.overrides]]` of the settings add to the one that is built in.
#[derive(Debug, clap::Args)]
pub(super) struct PricesArgs {
    #[command(subcommand)]
    command: PricesCommand,
}

#[derive(Debug, clap::Subcommand)]
enum PricesCommand {
    /// Show the prices that hold now, or at another time.
    List(ListArgs),
    /// Read book files as `serve` would, and say what is wrong with them.
    Check(CheckArgs),
    /// Make a book file of a price list of LiteLLM or genai-prices, saying what had to be left out.
    Import(ImportArgs),
    /// Show, line by line, what a call costs by the book, or why the book does not tell.
    Explain(Box<ExplainArgs>),
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Of this provider, as a webhook names it.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Of models like this; * stands for any text.
    #[arg(long, value_name = "GLOB")]
    model: Option<String>,
    /// Prices that hold at this date or time, in UTC [default: now].
    #[arg(long, value_name = "DATE", value_parser = moment)]
    at: Option<UtcMillis>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    /// Book files.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// A price list in JSON.
    file: PathBuf,
    /// Whose list it is.
    #[arg(long, value_enum, default_value_t = FormatArg::Auto)]
    format: FormatArg,
    /// Where to write; standard output unless given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Only this provider, as a webhook names it.
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    /// Write over a file that is there.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum FormatArg {
    /// Told by its content.
    Auto,
    /// model_prices_and_context_window.json
    Litellm,
    /// data.json
    GenaiPrices,
}

#[derive(Debug, clap::Args)]
struct ExplainArgs {
    /// The provider as a webhook names it.
    #[arg(long, value_name = "NAME")]
    provider: String,
    /// The model as a webhook names it.
    #[arg(long, value_name = "NAME")]
    model: String,
    /// What was used, as JSON: {"prompt_tokens":10,"completion_tokens":5}. Prompt tokens are those beside the cache.
    #[arg(long, value_name = "JSON", value_parser = usage)]
    usage: Usage,
    /// When the call was made: a date or time in UTC [default: now].
    #[arg(long, value_name = "DATE", value_parser = moment)]
    at: Option<UtcMillis>,
}

fn moment(text: &str) -> Result<UtcMillis, String> {
    parse_moment(text).ok_or_else(|| "a date such as 2026-11-25, or a time such as 2026-11-25T16:00:00Z".to_owned())
}

fn usage(text: &str) -> Result<Usage, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

pub(super) fn run(arguments: PricesArgs, settings: &Settings) -> Result<u8, CommandError> {
    let mut out = std::io::stdout().lock();
    let now = || SystemClock.now();
    match arguments.command {
        PricesCommand::List(arguments) => {
            let at = arguments.at.unwrap_or_else(now);
            list(&PriceBook::load(&settings.pricing)?, &arguments, at, &mut out)
        }
        PricesCommand::Check(arguments) => check(&arguments.files, &mut out),
        PricesCommand::Import(arguments) => import(&arguments, &mut out, now()),
        PricesCommand::Explain(arguments) => {
            let at = arguments.at.unwrap_or_else(now);
            explain(&PriceBook::load(&settings.pricing)?, &arguments, at, &mut out)
        }
    }
    .or_else(|error| match error {
        // `| head` has seen enough.
        CommandError::Output(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(0),
        other => Err(other),
    })
}

fn list(book: &PriceBook, arguments: &ListArgs, at: UtcMillis, out: &mut impl Write) -> Result<u8, CommandError> {
    let model = arguments.model.as_deref().map(Pattern::new).transpose().map_err(CommandError::Usage)?;
    let provider = arguments.provider.as_deref().map(str::to_lowercase);
    let is_wanted = |entry: &Entry| {
        entry.validity().contains(at)
            && provider.as_ref().is_none_or(|name| entry.providers().iter().any(|one| one.matches(name)))
    };
    writeln!(out, "USD per million tokens at {at}; … is more, by prompt length or tier of service: see `explain`")?;
    writeln!(
        out,
        "{:<14} {:<46} {:>10} {:>10} {:>10} {:>10}  from",
        "provider", "model", "input", "cached", "write", "output"
    )?;
    let mut count = 0_usize;
    for entry in book.entries().filter(|entry| is_wanted(entry)) {
        let name = entry.providers().first().map_or("", Pattern::as_str).to_uppercase();
        for pattern in entry.models().iter().filter(|one| model.as_ref().is_none_or(|wanted| wanted.overlaps(one))) {
            count += 1;
            let rates = entry.rates();
            let standard = rates.of(ServiceTier::Default);
            let base = standard.map(TieredPrices::base);
            let price = |component| base.map_or_else(String::new, |base| cell(base, component));
            let has_more =
                standard.is_some_and(|list| !list.tiers().is_empty()) || rates.service_tiers().next().is_some();
            writeln!(
                out,
                "{name:<14} {:<46} {:>10} {:>10} {:>10} {:>10}  {}{}",
                pattern.as_str(),
                price(Component::Input),
                price(Component::CachedInput),
                price(Component::CacheWrite),
                price(Component::Output),
                entry.place().split(':').next().unwrap_or_default(),
                if has_more { " …" } else { "" },
            )?;
        }
    }
    writeln!(out, "{count} names, book {}", book.revision())?;
    Ok(0)
}

fn cell(column: &PriceColumn, component: Component) -> String {
    column.get(component).map_or_else(|| "-".to_owned(), UnitPrice::to_per_million)
}

/// Every file is read; exit code 2 when one is wrong.
fn check(files: &[PathBuf], out: &mut impl Write) -> Result<u8, CommandError> {
    let mut is_bad = false;
    for file in files {
        let checked = read_bounded(file).and_then(|text| check_book(&text, &file.display().to_string()));
        match checked {
            Ok(entries) => writeln!(out, "ok    {}: {entries} entries", file.display())?,
            Err(error) => {
                is_bad = true;
                writeln!(out, "BAD   {error}")?;
            }
        }
    }
    Ok(if is_bad { 2 } else { 0 })
}

fn import(arguments: &ImportArgs, out: &mut impl Write, now: UtcMillis) -> Result<u8, CommandError> {
    let text = read_bounded(&arguments.file)?;
    let place = arguments.file.display();
    let not_a_list = |message: String| CommandError::Usage(format!("{place}: {message}"));
    let format = match arguments.format {
        FormatArg::Litellm => ForeignFormat::LiteLlm,
        FormatArg::GenaiPrices => ForeignFormat::GenaiPrices,
        FormatArg::Auto => ForeignFormat::detect(&text).ok_or_else(|| not_a_list("is no JSON".to_owned()))?,
    };
    let mut imported = format.read(&text).map_err(|error| not_a_list(error.to_string()))?;
    if let Some(provider) = &arguments.provider {
        imported.entries.retain(|entry| entry.providers.iter().any(|name| name.eq_ignore_ascii_case(provider)));
        imported.names = imported.entries.iter().map(|entry| entry.models.len()).sum();
    }
    if imported.entries.is_empty() {
        return Err(not_a_list("has no prices that can be used".to_owned()));
    }
    let (source, heading) = match format {
        ForeignFormat::LiteLlm => ("https://github.com/BerriAI/litellm", "LiteLLM"),
        ForeignFormat::GenaiPrices => ("https://github.com/pydantic/genai-prices", "genai-prices"),
    };
    let heading = format!("Made by `heliometer prices import` from a price list of {heading}.");
    let today = now.to_string().chars().take(10).collect::<String>();
    let book = book_file(&heading, &[source.to_owned()], &today, &imported.entries);
    // What was written must be read by the next start.
    check_book(&book, "the file made")?;
    match &arguments.output {
        None => out.write_all(book.as_bytes())?,
        Some(path) => write_new(path, &book, arguments.force)?,
    }
    let mut report = std::io::stderr().lock();
    writeln!(report, "kept {} names in {} entries", imported.names, imported.entries.len())?;
    for (why, count) in &imported.left_out {
        writeln!(report, "left out {count:>6}  {}", why.as_str())?;
    }
    Ok(0)
}

fn write_new(path: &Path, text: &str, force: bool) -> Result<(), CommandError> {
    if path.exists() && !force {
        return Err(CommandError::Usage(format!("{} is there already; --force writes over it", path.display())));
    }
    Ok(crate::whole_file::write(path, text, 0o644)?)
}

fn explain(book: &PriceBook, arguments: &ExplainArgs, at: UtcMillis, out: &mut impl Write) -> Result<u8, CommandError> {
    let ExplainArgs { provider, model, usage, .. } = arguments;
    writeln!(out, "{provider} {model} at {at}, book {}", book.revision())?;
    match book.price(provider, model, at, usage) {
        Ok(priced) => {
            writeln!(out, "entry      {}", priced.entry.place())?;
            let hours = priced.entry.validity().hours_text();
            if !hours.is_empty() {
                writeln!(out, "hours      {hours} UTC")?;
            }
            writeln!(out, "tier       {}", usage.service_tier.unwrap_or(ServiceTier::Default).as_str())?;
            if let Some(above) = priced.calculation.above_prompt_tokens {
                writeln!(out, "prompt     {} tokens, above {above}: the whole call", usage.all_prompt_tokens())?;
            }
            for line in &priced.calculation.lines {
                let (price, unit) = if line.component.is_tokens() {
                    (line.price.to_per_million(), "USD / 1,000,000")
                } else {
                    (line.price.to_each(), "USD")
                };
                writeln!(out, "{:<15} {:>12} × {price:>12} {unit}", line.component.key(), line.count)?;
            }
            writeln!(out, "cost            {} USD", priced.amount())?;
            Ok(0)
        }
        Err(Unpriced { reason, component, entry }) => {
            if let Some(entry) = entry {
                writeln!(out, "entry      {}", entry.place())?;
            }
            let of = component.map(|component| format!(" of {}", component.key())).unwrap_or_default();
            writeln!(out, "unpriced   {}{of}", reason.as_str())?;
            Ok(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> PriceBook {
        PriceBook::builtin().expect("the shipped book")
    }

    fn text(run: impl FnOnce(&mut Vec<u8>) -> Result<u8, CommandError>) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&mut out).expect("runs");
        (code, String::from_utf8(out).expect("text"))
    }

    const AT: UtcMillis = UtcMillis(1_790_000_000_000);

    #[test]
    fn explains_a_calculation_line_by_line() {
        let usage = usage(r#"{"prompt_tokens":96,"cached_tokens":1152,"completion_tokens":10}"#).expect("usage");
        let arguments =
            ExplainArgs { provider: "OPENAI".to_owned(), model: "gpt-4o-2024-08-06".to_owned(), usage, at: None };
        let (code, said) = text(|out| explain(&book(), &arguments, AT, out));
        assert_eq!(code, 0);
        // 96 × 2.5 + 1152 × 1.25 + 10 × 10 = 240 + 1440 + 100 millionths.
        assert!(said.contains("cost            0.001780000000 USD"), "{said}");
        assert!(said.contains("cached_input            1152 ×         1.25 USD / 1,000,000"), "{said}");
        assert!(said.contains("openai.toml"), "{said}");
    }

    #[test]
    fn explains_why_there_is_no_price() {
        let usage = usage(r#"{"prompt_tokens":1,"completion_tokens":1}"#).expect("usage");
        let arguments = ExplainArgs { provider: "OLLAMA".to_owned(), model: "llama3.3".to_owned(), usage, at: None };
        let (code, said) = text(|out| explain(&book(), &arguments, AT, out));
        assert_eq!(code, 1);
        assert!(said.contains("unpriced   unknown_"), "{said}");
    }

    #[test]
    fn a_misspelt_count_is_not_taken_for_zero() {
        let error = usage(r#"{"prompt_token":1}"#).expect_err("unknown");
        assert!(error.contains("prompt_token"), "{error}");
    }

    #[test]
    fn lists_what_holds_then() {
        let at = |text| parse_moment(text).expect("date");
        let arguments = ListArgs { provider: Some("OPENAI".to_owned()), model: Some("o3".to_owned()), at: None };
        for (day, input) in [("2025-06-09", "10"), ("2025-06-10", "2")] {
            let (_, said) = text(|out| list(&book(), &arguments, at(day), out));
            let line = said.lines().find(|line| line.contains(" o3 ")).expect("listed");
            assert_eq!(line.split_whitespace().nth(2), Some(input), "{day}: {line}");
        }
    }

    #[test]
    fn an_import_never_writes_over_a_file_unasked() {
        let directory = tempfile::tempdir().expect("directory");
        let (list, book) = (directory.path().join("list.json"), directory.path().join("book.toml"));
        let json = r#"{"gpt-x": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 1.5e-07, "output_cost_per_token": 6e-07}}"#;
        std::fs::write(&list, json).expect("write");
        let mut arguments = ImportArgs {
            file: list,
            format: FormatArg::Auto,
            output: Some(book.clone()),
            provider: None,
            force: false,
        };
        import(&arguments, &mut Vec::new(), AT).expect("first time");
        assert!(std::fs::read_to_string(&book).expect("written").contains("input = \"0.15\""));
        let error = import(&arguments, &mut Vec::new(), AT).expect_err("second time");
        assert_eq!(error.exit_code(), 2);
        arguments.force = true;
        import(&arguments, &mut Vec::new(), AT).expect("forced");
        assert_eq!(text(|out| check(&[book], out)).0, 0);
    }
}
