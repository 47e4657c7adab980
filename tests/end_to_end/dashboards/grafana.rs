//! What Grafana and its ClickHouse data source do with a dashboard before ClickHouse sees a query: variables and macros are
//! filled in, as the documentation of both says. Shared with `benches/dashboards.rs`.

use std::{collections::BTreeMap, ops::Range, path::Path};

use serde::Deserialize;
use serde_json::Value;

use super::reader::Reader;

/// A file of `dashboards/`, as far as somebody looks at it.
#[derive(Deserialize)]
pub(crate) struct Dashboard {
    pub(crate) uid: String,
    pub(crate) tags: Vec<String>,
    pub(crate) time: ChosenTime,
    pub(crate) templating: Templating,
    pub(crate) panels: Vec<Panel>,
}

/// The time that a dashboard opens with.
#[derive(Deserialize)]
pub(crate) struct ChosenTime {
    from: String,
}

impl ChosenTime {
    /// How many hours until now.
    pub(crate) fn hours(&self) -> i64 {
        let hours = self.from.strip_prefix("now-").and_then(|time| time.strip_suffix('h'));
        hours.and_then(|hours| hours.parse().ok()).unwrap_or_else(|| panic!("{}: not a number of hours", self.from))
    }
}

#[derive(Deserialize)]
pub(crate) struct Templating {
    pub(crate) list: Vec<Variable>,
}

#[derive(Deserialize)]
pub(crate) struct Variable {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: String,
    /// A text for ClickHouse, more for others.
    pub(crate) query: Value,
    pub(crate) multi: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Panel {
    #[serde(rename = "type")]
    pub(crate) kind: String,
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) description: String,
    pub(crate) grid_pos: GridPosition,
    #[serde(default)]
    pub(crate) field_config: FieldConfig,
    #[serde(default)]
    pub(crate) targets: Vec<Target>,
}

#[derive(Deserialize)]
pub(crate) struct GridPosition {
    pub(crate) x: u32,
    pub(crate) y: u32,
    pub(crate) w: u32,
    pub(crate) h: u32,
}

#[derive(Default, Deserialize)]
pub(crate) struct FieldConfig {
    pub(crate) defaults: FieldDefaults,
    pub(crate) overrides: Vec<FieldOverride>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct FieldDefaults {
    pub(crate) unit: Option<String>,
    #[serde(default)]
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) no_value: String,
}

#[derive(Deserialize)]
pub(crate) struct FieldOverride {
    pub(crate) matcher: Matcher,
}

#[derive(Deserialize)]
pub(crate) struct Matcher {
    pub(crate) options: String,
}

#[derive(Deserialize)]
pub(crate) struct Target {
    /// A query of ClickHouse.
    #[serde(rename = "rawSql")]
    pub(crate) sql: Option<String>,
    /// A query of Prometheus.
    pub(crate) expr: Option<String>,
}

/// Every file of `dashboards/`, by name, with its text.
pub(crate) fn dashboards() -> Vec<(String, String, Dashboard)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .expect("dashboards/")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    paths.sort();
    let read = |path: &Path| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("a dashboard");
        let dashboard = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, text, dashboard)
    };
    paths.iter().map(|path| read(path)).collect()
}

/// What is chosen in a variable.
#[derive(Clone, Debug)]
pub(crate) enum Choice {
    /// "All", and what that is.
    All(Vec<String>),
    One(String),
}

pub(crate) type Choices = BTreeMap<String, Choice>;

/// Seconds since 1970: the time that is chosen above the panels.
pub(crate) type TimeRange = Range<i64>;

impl Dashboard {
    /// What the variables are when somebody opens the dashboard: "All" where there is that, else the first.
    pub(crate) async fn choices(&self, range: &TimeRange, reader: &Reader) -> Choices {
        let mut choices = Choices::new();
        for variable in self.templating.list.iter().filter(|variable| variable.kind == "query") {
            let Value::String(query) = &variable.query else { continue };
            let query = fill(query, range, &choices).unwrap_or_else(|error| panic!("{}: {error}", variable.name));
            let values = reader.texts(&query).await;
            let choice = match (variable.multi, values.first()) {
                (true, _) => Choice::All(values),
                (false, first) => Choice::One(first.cloned().unwrap_or_default()),
            };
            choices.insert(variable.name.clone(), choice);
        }
        choices
    }
}

/// The query that ClickHouse gets.
pub(crate) fn fill(query: &str, range: &TimeRange, choices: &Choices) -> Result<String, String> {
    let query = expand(query, "$__conditionalAll", |arguments| {
        let [condition, variable] = arguments else { return Err("$__conditionalAll has two arguments".to_owned()) };
        let name = variable.trim_start_matches(['$', '{']).trim_end_matches('}');
        match choices.get(name).ok_or_else(|| format!("there is no variable {name}"))? {
            Choice::All(_) => Ok("1=1".to_owned()),
            Choice::One(_) => Ok(condition.clone()),
        }
    })?;
    let query = interpolate(&query, choices)?;
    let time = |seconds: i64| format!("toDateTime({seconds})");
    let (from, to) = (time(range.start), time(range.end));
    // Grafana asks for about as many steps as a panel has pixels, in round steps.
    let step_seconds =
        [15, 60, 600, 3_600, 43_200, 604_800].into_iter().find(|step| (range.end - range.start) / step <= 500);
    let step_seconds = step_seconds.ok_or("the range is too long")?;
    let column = |arguments: &[String]| match arguments {
        [column] => Ok(column.clone()),
        _ => Err("this macro has one argument".to_owned()),
    };
    let query = expand(&query, "$__timeFilter", |arguments| {
        column(arguments).map(|column| format!("{column} >= {from} AND {column} <= {to}"))
    })?;
    let query = expand(&query, "$__timeInterval", |arguments| {
        column(arguments)
            .map(|column| format!("toStartOfInterval(toDateTime({column}), INTERVAL {step_seconds} second)"))
    })?;
    let query = query.replace("$__fromTime", &from).replace("$__toTime", &to);
    let query = query.replace("$__interval_s", &step_seconds.to_string());
    match query.find('$') {
        None => Ok(query),
        Some(at) => Err(format!("nobody fills in {}", query[at..].chars().take(20).collect::<String>())),
    }
}

/// Replaces every `name(…)`, the last one first, as the data source does.
fn expand(
    query: &str,
    name: &str,
    mut replacement: impl FnMut(&[String]) -> Result<String, String>,
) -> Result<String, String> {
    let mut query = query.to_owned();
    while let Some(at) = query.rfind(&format!("{name}(")) {
        let open = at + name.len();
        let (mut depth, mut arguments, mut end) = (0, vec![String::new()], None);
        for (offset, character) in query[open..].char_indices() {
            depth += match character {
                '(' => 1,
                ')' => -1,
                _ => 0,
            };
            match (depth, character) {
                (0, _) => {
                    end = Some(open + offset + 1);
                    break;
                }
                (1, ',') => arguments.push(String::new()),
                (1, '(') if offset == 0 => {}
                (_, character) => arguments.last_mut().expect("there is one").push(character),
            }
        }
        let end = end.ok_or_else(|| format!("{name}( is not closed"))?;
        let arguments: Vec<String> = arguments.iter().map(|argument| argument.trim().to_owned()).collect();
        query.replace_range(at..end, &replacement(&arguments)?);
    }
    Ok(query)
}

/// Fills in `$name`, `${name}` and `${name:singlequote}`. What begins with `$__` is left for macros.
fn interpolate(query: &str, choices: &Choices) -> Result<String, String> {
    let variable = regex::Regex::new(r"\$\{(\w+)(?::(\w+))?\}|\$([a-z]\w*)").expect("an expression");
    let mut filled = String::new();
    let mut rest = 0;
    for found in variable.captures_iter(query) {
        let whole = found.get(0).expect("all of it");
        let name = found.get(1).or_else(|| found.get(3)).expect("a name").as_str();
        let values = match choices.get(name).ok_or_else(|| format!("there is no variable {name}"))? {
            Choice::All(values) => values.clone(),
            Choice::One(value) => vec![value.clone()],
        };
        let text = match found.get(2).map(|format| format.as_str()) {
            None => values.join(","),
            Some("singlequote") => {
                let quoted = values.iter().map(|value| format!("'{}'", value.replace('\'', "\\'")));
                quoted.collect::<Vec<_>>().join(",")
            }
            Some(format) => return Err(format!("the format {format} is not known here")),
        };
        filled += &query[rest..whole.start()];
        filled += &text;
        rest = whole.end();
    }
    filled += &query[rest..];
    Ok(filled)
}
