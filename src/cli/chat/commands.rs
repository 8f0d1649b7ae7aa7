//! What a line of input says: a message, or a command.

use std::fmt::Write;

use crate::names::closest;

/// What a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    System,
    Retry,
    More,
    Undo,
    Save,
    Load,
    Set,
    Stats,
    Clear,
    Exit,
}

/// What may follow a command's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Argument {
    None,
    Optional(&'static str),
    Required(&'static str),
}

struct Entry {
    command: Command,
    /// The name that /help shows, then others.
    names: &'static [&'static str],
    argument: Argument,
    help: &'static str,
}

const fn entry(
    command: Command,
    names: &'static [&'static str],
    argument: Argument,
    help: &'static str,
) -> Entry {
    Entry {
        command,
        names,
        argument,
        help,
    }
}

const COMMANDS: &[Entry] = &[
    entry(
        Command::Help,
        &["/help", "/?"],
        Argument::None,
        "show this list",
    ),
    entry(
        Command::System,
        &["/system"],
        Argument::Optional("TEXT"),
        "show the system message, or set it (\"\": none)",
    ),
    entry(
        Command::Retry,
        &["/retry"],
        Argument::None,
        "answer the last message again",
    ),
    entry(
        Command::More,
        &["/more"],
        Argument::None,
        "continue an answer that was cut off",
    ),
    entry(
        Command::Undo,
        &["/undo"],
        Argument::None,
        "forget the last message and its answer",
    ),
    entry(
        Command::Save,
        &["/save"],
        Argument::Required("FILE"),
        "write the conversation to a file, as JSON",
    ),
    entry(
        Command::Load,
        &["/load"],
        Argument::Required("FILE"),
        "go on with the conversation in a file",
    ),
    entry(
        Command::Set,
        &["/set"],
        Argument::Optional("NAME VALUE"),
        "list the settings, or change one",
    ),
    entry(
        Command::Stats,
        &["/stats"],
        Argument::None,
        "show the last answer's statistics",
    ),
    entry(
        Command::Clear,
        &["/clear"],
        Argument::None,
        "forget the conversation, but not the system message",
    ),
    entry(
        Command::Exit,
        &["/exit", "/quit", "/bye"],
        Argument::None,
        "quit (Ctrl-D does too)",
    ),
];

/// What a line of input says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    /// Nothing.
    Empty,
    Message(String),
    /// With what follows the command's name.
    Command(Command, String),
}

/// Reads a line; the error says why it is refused.
pub(super) fn parse(line: &str) -> Result<Input, String> {
    let trimmed = line.trim();
    if trimmed.is_empty() {
        return Ok(Input::Empty);
    }
    if let Some(message) = trimmed.strip_prefix("//") {
        return Ok(Input::Message(format!("/{message}")));
    }
    let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
    let (name, argument) = trimmed.split_at(end);
    if !looks_like_a_command(name) {
        return Ok(Input::Message(line.to_owned()));
    }
    let argument = argument.trim();
    let entry = COMMANDS.iter().find(|entry| entry.names.contains(&name));
    let entry = entry.ok_or_else(|| unknown(name))?;
    match entry.argument {
        Argument::None if !argument.is_empty() => Err(format!(
            "{name} takes no argument; to send the line as a message, start it with /{name}"
        )),
        Argument::Required(what) if argument.is_empty() => {
            Err(format!("{name} needs an argument: {name} {what}"))
        }
        _ => Ok(Input::Command(entry.command, argument.to_owned())),
    }
}

/// Whether a line's first word is a command or was meant to be one, and not a path such as /etc/hosts.
fn looks_like_a_command(word: &str) -> bool {
    let Some(name) = word.strip_prefix('/') else {
        return false;
    };
    name == "?"
        || !name.is_empty()
            && name
                .chars()
                .all(|letter| letter.is_alphabetic() || letter == '-')
}

fn unknown(name: &str) -> String {
    let meant = match closest(name, names()) {
        Some(known) => format!("did you mean {known}?"),
        None => "/help lists the commands.".into(),
    };
    format!("unknown command {name}: {meant} To send the line as a message, start it with /{name}")
}

/// The names of all commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().flat_map(|entry| entry.names).copied()
}

/// The list of commands, for a user.
pub(super) fn help() -> String {
    let mut help = String::new();
    for entry in COMMANDS {
        let usage = match entry.argument {
            Argument::None => entry.names[0].to_owned(),
            Argument::Optional(argument) => format!("{} [{argument}]", entry.names[0]),
            Argument::Required(argument) => format!("{} {argument}", entry.names[0]),
        };
        // Writing to a string can't fail.
        let _ = writeln!(help, "{usage:<18}  {}", entry.help);
    }
    help + "//TEXT              send a message that starts with a slash"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_messages_or_commands() {
        let message = |text: &str| Ok(Input::Message(text.to_owned()));
        let command =
            |command: Command, argument: &str| Ok(Input::Command(command, argument.to_owned()));
        assert_eq!(parse("  \t"), Ok(Input::Empty));
        assert_eq!(parse(" Hello "), message(" Hello "));
        assert_eq!(parse("//clear it"), message("/clear it"));
        for path in [
            "/etc/hosts is what?",
            "/ is the root",
            "/2 or /3?",
            "a /clear",
        ] {
            assert_eq!(parse(path), message(path));
        }
        assert_eq!(parse(" /clear "), command(Command::Clear, ""));
        assert_eq!(parse("/bye"), command(Command::Exit, ""));
        assert_eq!(parse("/?"), command(Command::Help, ""));
        assert_eq!(parse("/system"), command(Command::System, ""));
        assert_eq!(
            parse("/system Be\nbrief. "),
            command(Command::System, "Be\nbrief.")
        );
        assert_eq!(parse("/set top_k  40"), command(Command::Set, "top_k  40"));
    }

    #[test]
    fn wrong_commands_are_refused_with_advice() {
        let refused = |line: &str| parse(line).unwrap_err();
        assert!(refused("/claer").contains("did you mean /clear?"));
        assert!(refused("/Clear").contains("did you mean /clear?"));
        assert!(refused("/xyz now").contains("/help lists the commands. To"));
        assert!(refused("/xyz").contains("start it with //xyz"));
        assert!(refused("/clear now").contains("takes no argument"));
        assert!(refused("/save ").contains("/save FILE"));
    }

    #[test]
    fn help_lists_every_command_within_80_columns() {
        let help = help();
        for entry in COMMANDS {
            assert!(help.contains(entry.names[0]), "{}", entry.names[0]);
        }
        assert!(
            help.lines().all(|line| line.chars().count() <= 80),
            "{help}"
        );
    }
}
