//! The line editor: history, completion, statements over several lines.

use std::borrow::Cow;
use std::path::PathBuf;

use reedline::{
    ColumnarMenu, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    ValidationResult, Validator, default_emacs_keybindings,
};
use tokio::runtime::Runtime;

use super::complete::{Names, WordCompleter};
use super::{Next, Shell, script};
use crate::failure::Failure;
use crate::say::say;

/// How many lines are remembered.
const HISTORY_LINES_MAX: usize = 10_000;

const MENU: &str = "completions";

struct ShellPrompt {
    place: String,
}

impl Prompt for ShellPrompt {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        Cow::Owned(format!("yeoul{}", self.place))
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    fn render_prompt_indicator(&self, _: PromptEditMode) -> Cow<'_, str> {
        Cow::Borrowed("> ")
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        Cow::Borrowed("  ")
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        Cow::Owned(format!("(search: {}) ", search.term))
    }
}

struct StatementValidator;

impl Validator for StatementValidator {
    fn validate(&self, line: &str) -> ValidationResult {
        if script::is_complete(line) {
            ValidationResult::Complete
        } else {
            ValidationResult::Incomplete
        }
    }
}

/// Reads and runs statements until the person leaves.
pub(crate) fn interact(shell: &mut Shell, runtime: &Runtime) -> Result<(), Failure> {
    let names = Names::default();
    names.set(runtime.block_on(shell.names()));
    let mut editor = editor(names.clone());
    let place = match shell.backend.place() {
        place if place.is_empty() || place.starts_with(':') => place.to_owned(),
        place => format!(" ({place})"),
    };
    let prompt = ShellPrompt { place };
    say!("Yeoul {}. \\? for help, \\q to leave.", env!("CARGO_PKG_VERSION"));
    loop {
        let line = editor.read_line(&prompt).map_err(|e| Failure::new(e.to_string()))?;
        match line {
            Signal::Success(text) => {
                match runtime.block_on(shell.run_script(&text)) {
                    Ok(Next::Quit) => return Ok(()),
                    Ok(Next::Continue) => {}
                    Err(failure) => failure.say(),
                }
                if changes_names(&text) {
                    names.set(runtime.block_on(shell.names()));
                }
            }
            Signal::CtrlD => return Ok(()),
            _ => {}
        }
    }
}

fn changes_names(text: &str) -> bool {
    let text = text.to_ascii_uppercase();
    ["CREATE", "DROP", "ALTER"].iter().any(|word| text.contains(word))
}

fn editor(names: Names) -> Reedline {
    let mut keys = default_emacs_keybindings();
    let tab = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
    keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(tab));
    let newline = ReedlineEvent::Edit(vec![EditCommand::InsertNewline]);
    keys.add_binding(KeyModifiers::ALT, KeyCode::Enter, newline);
    let menu = ColumnarMenu::default().with_name(MENU);
    let editor = Reedline::create()
        .with_completer(Box::new(WordCompleter::new(names)))
        .with_menu(ReedlineMenu::EngineCompleter(Box::new(menu)))
        .with_edit_mode(Box::new(Emacs::new(keys)))
        .with_validator(Box::new(StatementValidator))
        .with_quick_completions(true)
        .with_partial_completions(true)
        .use_bracketed_paste(true);
    match history() {
        Some(history) => editor.with_history(Box::new(history)),
        None => editor,
    }
}

/// The history, where a home says to keep such things. Without one, the shell forgets.
fn history() -> Option<FileBackedHistory> {
    let folder = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(|| {
        std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local").join("state"))
    })?;
    let file = folder.join("yeoul").join("history");
    match FileBackedHistory::with_file(HISTORY_LINES_MAX, file) {
        Ok(history) => Some(history),
        Err(e) => {
            tracing::warn!("the shell has no history: {e}");
            None
        }
    }
}
