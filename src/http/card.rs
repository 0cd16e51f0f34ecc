//! The dashboard card: one file, since Home Assistant loads it from a place where it has no neighbours.
//!
//! Its modules stand in `assets/doorstep-card/` and, where the page has the same, in `assets/`. Each becomes a function
//! that returns what it exports, so that names stay its own. That asks of the modules that an `import` or `export`
//! stands at the beginning of a line, that an import fits on one, and that only declarations are exported.

use std::sync::LazyLock;

struct Module {
    name: &'static str,
    text: &'static str,
}

macro_rules! module {
    ($name:literal) => {
        module!($name, $name)
    };
    ($folder:literal / $name:literal) => {
        module!($name, concat!($folder, "/", $name))
    };
    ($name:literal, $path:expr) => {
        Module { name: $name, text: include_str!(concat!("assets/", $path, ".js")) }
    };
}

/// Each comes after those that it imports.
const MODULES: [Module; 16] = [
    module!("text"),
    module!("request"),
    module!("hold"),
    module!("microphone"),
    module!("player"),
    module!("talk"),
    module!("doorstep-card" / "words"),
    module!("doorstep-card" / "entities"),
    module!("doorstep-card" / "ways"),
    module!("doorstep-card" / "settings"),
    module!("doorstep-card" / "replies"),
    module!("doorstep-card" / "look"),
    module!("doorstep-card" / "doors"),
    module!("doorstep-card" / "card"),
    module!("doorstep-card" / "editor"),
    module!("doorstep-card" / "main"),
];

/// What `/card.js` is.
pub(super) fn text() -> &'static str {
    static JOINED: LazyLock<String> = LazyLock::new(|| join(&MODULES));
    &JOINED
}

fn join(modules: &[Module]) -> String {
    let head = concat!("// Doorstep ", env!("CARGO_PKG_VERSION"), ": the dashboard card\n");
    modules.iter().fold(head.to_owned(), |mut joined, module| {
        wrap(module, &mut joined);
        joined
    })
}

/// One module as a function, without comments and indentation.
fn wrap(module: &Module, joined: &mut String) {
    let mut exports = Vec::new();
    let mut in_comment = false;
    joined.extend(["const $", module.name, " = (() => {\n"]);
    for line in module.text.lines() {
        let line = line.trim();
        in_comment |= line.starts_with("/**");
        if !in_comment && !line.is_empty() && !line.starts_with("//") {
            joined.push_str(&import(line).unwrap_or_else(|| export(line, &mut exports)));
            joined.push('\n');
        }
        in_comment &= !line.ends_with("*/");
    }
    joined.extend(["return { ", &exports.join(", "), " };\n})();\n"]);
}

/// `import { a as b } from '../x.js';` → `const { a: b } = $x;`, `import * as x from './x.js';` → `const x = $x;`
fn import(line: &str) -> Option<String> {
    let (names, path) = line.strip_prefix("import ")?.strip_suffix(".js';")?.split_once(" from '")?;
    let (_, module) = path.rsplit_once('/')?;
    let names = names.trim_start_matches("* as ").replace(" as ", ": ");
    Some(format!("const {names} = ${module};"))
}

/// The line without `export`; the name that it declares goes into `exports`.
fn export<'a>(line: &'a str, exports: &mut Vec<&'a str>) -> String {
    let Some(declaration) = line.strip_prefix("export ") else { return line.to_owned() };
    let words = declaration.split(|c: char| !c.is_alphanumeric() && c != '_');
    exports.extend(words.filter(|word| !["async", "class", "const", "function", ""].contains(word)).take(1));
    declaration.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_keep_their_names_to_themselves() {
        let modules = [
            Module {
                name: "a",
                text: "// Why.\nconst KEPT = 1;\n/**\n * Told.\n */\nexport async function ask() {\n  return KEPT;\n}\n",
            },
            Module {
                name: "b",
                text: "import { ask as asked } from './a.js';\nimport * as a from '../a.js';\n\nexport const KEPT = [asked, a];",
            },
        ];
        let joined = join(&modules);
        let (_, joined) = joined.split_once('\n').unwrap();
        let expected = "const $a = (() => {\nconst KEPT = 1;\nasync function ask() {\nreturn KEPT;\n}\nreturn { ask };\n})();\n\
            const $b = (() => {\nconst { ask: asked } = $a;\nconst a = $a;\nconst KEPT = [asked, a];\nreturn { KEPT };\n})();\n";
        assert_eq!(joined, expected);
    }

    #[test]
    fn every_module_comes_after_those_that_it_imports() {
        for (n, module) in MODULES.iter().enumerate() {
            let imports = module.text.lines().filter(|line| line.starts_with("import "));
            for line in imports {
                let bound = import(line).unwrap_or_else(|| panic!("{}: {line}", module.name));
                let is_there = |earlier: &Module| bound.ends_with(&format!(" = ${};", earlier.name));
                assert!(MODULES[..n].iter().any(is_there), "{}: {line}", module.name);
            }
        }
    }

    #[test]
    fn the_card_is_one_file_of_a_size_that_a_phone_loads_at_once() {
        let card = text();
        assert_eq!(card, join(&MODULES));
        assert!(!card.lines().any(|line| line.starts_with("import ") || line.starts_with("export ")));
        assert!(!card.contains("import.meta"), "it is served from anywhere");
        assert!(card.len() <= 88 * 1024, "{} bytes", card.len());
    }
}
