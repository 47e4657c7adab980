//! The SQL and the commands that documentation shows. Shared with `benches/dashboards.rs`.

use std::path::{Path, PathBuf};

/// A block of a Markdown file that is marked with its language.
pub(crate) struct Block {
    /// File and line.
    pub(crate) place: String,
    pub(crate) language: String,
    pub(crate) text: String,
}

impl Block {
    /// Whether it only reads; what does not is for an administrator.
    pub(crate) fn is_query(&self) -> bool {
        ["SELECT", "WITH"].iter().any(|word| self.text.trim_start().starts_with(word))
    }
}

/// Those of README.md and `docs/`.
pub(crate) fn sql_blocks() -> Vec<Block> {
    blocks(&["sql"])
}

/// The same in other languages.
pub(crate) fn blocks(languages: &[&str]) -> Vec<Block> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let documents = std::fs::read_dir(root.join("docs")).expect("docs/").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = documents.chain([root.join("README.md")]).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    let all = paths.iter().flat_map(|path| blocks_of(path));
    all.filter(|block| languages.contains(&block.language.as_str())).collect()
}

fn blocks_of(path: &Path) -> Vec<Block> {
    let text = std::fs::read_to_string(path).expect("a document");
    let name = path.file_name().expect("a name").to_string_lossy();
    let mut blocks = Vec::new();
    let mut block: Option<Block> = None;
    for (number, line) in (1..).zip(text.lines()) {
        match (line.trim().strip_prefix("```"), &mut block) {
            (Some(language), None) => {
                let (place, language) = (format!("{name}:{number}"), language.to_owned());
                block = Some(Block { place, language, text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(block.take()),
            (None, Some(block)) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(block.is_none(), "{name}: a block is not closed");
    blocks
}

/// The statements of a file, without comments.
pub(crate) fn statements(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("--"));
    let text: String = lines.flat_map(|line| [line, "\n"]).collect();
    text.split(';').map(str::trim).filter(|statement| !statement.is_empty()).map(ToOwned::to_owned).collect()
}
