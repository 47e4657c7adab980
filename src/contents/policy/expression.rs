//! CEL expressions: compiled and checked at start, so that what a call can still get wrong is little.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, Env, ExecutionError, IdedExpr, Program, Value,
    common::ast::{EntryExpr, Expr, LiteralValue},
    extensions,
    extractors::This,
};
use regex::Regex;

use super::VARIABLES;

/// Longer ones are refused: they run on every call.
const MAX_EXPRESSION_BYTES: usize = 4096;
/// Compiled patterns are bounded, and their matching is linear in the text.
const MAX_PATTERN_BYTES: usize = 1024 * 1024;
/// Functions that take time or memory in proportion to what they are given.
const FUNCTIONS: [&str; 13] = [
    "bool",
    "contains",
    "double",
    "endsWith",
    "int",
    "lowerAscii",
    "matches",
    "size",
    "startsWith",
    "string",
    "trim",
    "uint",
    "upperAscii",
];

/// A compiled expression. Evaluation takes time in proportion to the expression and the texts that it looks at: loops
/// cannot be nested, and patterns are compiled.
pub(super) struct Expression {
    program: Program,
    uses: Vec<&'static str>,
}

/// What expressions need besides a call: the language, and all patterns of all expressions.
pub(super) struct Language {
    env: Arc<Env>,
    patterns: Arc<HashMap<String, Regex>>,
}

/// Compiles expressions into one language.
pub(super) struct Compiler {
    env: Env,
    patterns: HashMap<String, Regex>,
}

impl Compiler {
    pub(super) fn new() -> Result<Self, String> {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings).map_err(|error| error.to_string())?;
        Ok(Self { env, patterns: HashMap::new() })
    }

    /// Compiles what the settings call `key`. The error names the place.
    pub(super) fn compile(&mut self, key: &str, source: &str) -> Result<Expression, String> {
        if source.len() > MAX_EXPRESSION_BYTES {
            return Err(format!("`{key}` has more than {MAX_EXPRESSION_BYTES} bytes"));
        }
        let program = self.env.compile(source).map_err(|errors| match errors.errors.first() {
            Some(error) => format!("`{key}`, line {}, column {}: {}", error.pos.0, error.pos.1, error.msg),
            None => format!("`{key}` is no CEL expression"),
        })?;
        let mut check = Check { bound: Vec::new(), uses: Vec::new(), patterns: &mut self.patterns };
        check.walk(program.expression(), false).map_err(|(id, message)| {
            let place = program.source_info().offset_for(id).map(|(start, _)| format!(", column {}", start + 1));
            format!("`{key}`{}: {message}", place.unwrap_or_default())
        })?;
        let uses = check.uses;
        Ok(Expression { program, uses })
    }

    pub(super) fn finish(self) -> Language {
        Language { env: Arc::new(self.env), patterns: Arc::new(self.patterns) }
    }
}

/// The place of an error, and what is wrong.
type Wrong = (u64, String);

/// One walk over an expression.
struct Check<'a> {
    /// Names that loops around the place have bound.
    bound: Vec<String>,
    uses: Vec<&'static str>,
    patterns: &'a mut HashMap<String, Regex>,
}

impl Check<'_> {
    fn walk(&mut self, expression: &IdedExpr, in_loop: bool) -> Result<(), Wrong> {
        let wrong = |message: String| Err((expression.id, message));
        match &expression.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => {
                if name.starts_with('@') || self.bound.iter().any(|bound| bound == name) {
                    return Ok(());
                }
                let Some(variable) = VARIABLES.iter().find(|known| *known == name) else {
                    return wrong(format!("unknown variable `{name}`{}", nearest(name, &VARIABLES)));
                };
                self.uses.push(variable);
                Ok(())
            }
            Expr::Call(call) => {
                let name = call.func_name.as_str();
                let is_operator = name.contains('_') || name.starts_with('@');
                if !is_operator && !FUNCTIONS.contains(&name) {
                    return wrong(format!("unknown function `{name}`{}", nearest(name, &FUNCTIONS)));
                }
                if name == "matches" {
                    self.pattern(call.args.last()).map_err(|message| (expression.id, message))?;
                }
                call.target.iter().map(AsRef::as_ref).chain(&call.args).try_for_each(|part| self.walk(part, in_loop))
            }
            Expr::Comprehension(_) if in_loop => wrong("loops cannot be nested".to_owned()),
            Expr::Comprehension(of) => {
                self.walk(&of.iter_range, in_loop)?;
                self.walk(&of.accu_init, in_loop)?;
                let before = self.bound.len();
                self.bound.extend([&of.iter_var, &of.accu_var].into_iter().chain(&of.iter_var2).cloned());
                for part in [&of.loop_cond, &of.loop_step, &of.result] {
                    self.walk(part, true)?;
                }
                self.bound.truncate(before);
                Ok(())
            }
            Expr::List(list) => list.elements.iter().try_for_each(|part| self.walk(part, in_loop)),
            Expr::Select(select) => self.walk(&select.operand, in_loop),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::StructField(field) => self.walk(&field.value, in_loop),
                EntryExpr::MapEntry(entry) => {
                    self.walk(&entry.key, in_loop)?;
                    self.walk(&entry.value, in_loop)
                }
            }),
            Expr::Struct(of) => wrong(format!("`{}` is no known type", of.type_name)),
        }
    }

    /// The pattern of `matches` is compiled once, so it must stand there as a text.
    fn pattern(&mut self, argument: Option<&IdedExpr>) -> Result<(), String> {
        let Some(Expr::Literal(LiteralValue::String(pattern))) = argument.map(|argument| &argument.expr) else {
            return Err("`matches` takes a pattern written as a text".to_owned());
        };
        let pattern = pattern.inner();
        let regex = regex::RegexBuilder::new(pattern)
            .size_limit(MAX_PATTERN_BYTES)
            .build()
            .map_err(|error| format!("the pattern of `matches` is wrong: {error}"))?;
        self.patterns.insert(pattern.to_owned(), regex);
        Ok(())
    }
}

fn nearest(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|word| (strsim::damerau_levenshtein(word, name), *word))
        .filter(|(distance, word)| *distance <= word.len().max(name.len()) / 2)
        .min()
        .map(|(_, word)| format!(", did you mean `{word}`?"))
        .unwrap_or_default();
    format!("{near}; there are {}", known.join(", "))
}

impl Language {
    /// A place for a call's variables.
    pub(super) fn context<'v>(&self) -> Context<'v, 'v> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        let patterns = Arc::clone(&self.patterns);
        let matches = move |This(text): This<Arc<String>>, pattern: Arc<String>| match patterns.get(pattern.as_str()) {
            Some(regex) => Ok(regex.is_match(&text)),
            None => Err(ExecutionError::function_error("matches", "unknown pattern")),
        };
        // Only refuses names that the language has already, and a test uses it.
        drop(context.add_function("matches", matches));
        context
    }
}

impl Expression {
    /// Whether it looks at this variable.
    pub(super) fn uses(&self, variable: &str) -> bool {
        self.uses.contains(&variable)
    }

    pub(super) fn evaluate(&self, context: &Context<'_, '_>) -> Option<Value> {
        // Errors can quote values, which may be texts, so they go no further.
        self.program.execute(context).ok()
    }
}
