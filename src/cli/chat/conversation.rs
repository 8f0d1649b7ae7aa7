//! The messages of a conversation.

use std::io;
use std::path::Path;

use crate::cli::prompts::read_text;
use crate::error::{Error, Result};
use crate::files::{self, Access};
use crate::text::Message;

const SYSTEM: &str = "system";
const USER: &str = "user";
const ASSISTANT: &str = "assistant";

/// A system message, if there is one, and what was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Conversation {
    messages: Vec<Message>,
}

fn is_of(message: &Message, role: &str) -> bool {
    message.role() == role
}

impl Conversation {
    /// Nothing but a system message.
    pub(super) fn new(system: Option<&str>) -> Self {
        let system = system.map(|text| Message::new(SYSTEM, text));
        Self {
            messages: system.into_iter().collect(),
        }
    }

    pub(super) fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub(super) fn system(&self) -> Option<String> {
        let first = self.messages.first()?;
        is_of(first, SYSTEM).then(|| first.text())
    }

    /// Replaces the system message; an empty text removes it.
    pub(super) fn set_system(&mut self, text: &str) {
        if self.system().is_some() {
            self.messages.remove(0);
        }
        if !text.is_empty() {
            self.messages.insert(0, Message::new(SYSTEM, text));
        }
    }

    /// The conversation with a question at its end, whatever it ends with now.
    pub(super) fn with_a_question(&self) -> Self {
        let mut asked = self.clone();
        if !asked.awaits_an_answer() {
            asked.ask("Hello".into());
        }
        asked
    }

    pub(super) fn ask(&mut self, message: String) {
        self.messages.push(Message::new(USER, message));
    }

    pub(super) fn answer(&mut self, text: String) {
        self.messages.push(Message::new(ASSISTANT, text));
    }

    /// Whether a user's message is the last one.
    pub(super) fn awaits_an_answer(&self) -> bool {
        self.messages.last().is_some_and(|last| is_of(last, USER))
    }

    /// Forgets the answer, if one is the last message.
    pub(super) fn forget_answer(&mut self) {
        self.messages.pop_if(|last| is_of(last, ASSISTANT));
    }

    /// Forgets the last message of the user and what followed it; returns its text.
    pub(super) fn undo(&mut self) -> Option<String> {
        let asked = self
            .messages
            .iter()
            .rposition(|message| is_of(message, USER))?;
        let undone = self.messages[asked].text();
        self.messages.truncate(asked);
        Some(undone)
    }

    /// Writes the messages to a file, as JSON. A file that holds something else is not overwritten.
    pub(super) fn save(&self, path: &Path) -> Result<()> {
        if path.exists() && Self::load(path).is_err() {
            let reason = "the file exists and holds no conversation: choose another name";
            return Err(Error::io(
                path,
                io::Error::new(io::ErrorKind::AlreadyExists, reason),
            ));
        }
        let json = serde_json::to_string_pretty(&self.messages)
            .map_err(|error| Error::io(path, io::Error::other(error)))?;
        files::write(path, json + "\n", Access::Private)
    }

    /// The messages of a file.
    pub(super) fn load(path: &Path) -> Result<Self> {
        let messages = serde_json::from_str(&read_text(path)?).map_err(|error| {
            let reason = format!(
                "expected a JSON list of messages, each {{\"role\": \"user\", \"content\": \"...\"}}: {error}"
            );
            Error::io(path, io::Error::new(io::ErrorKind::InvalidData, reason))
        })?;
        Ok(Self { messages })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked_twice() -> Conversation {
        let mut conversation = Conversation::new(Some("Be brief."));
        conversation.ask("One?".into());
        conversation.answer("Two.".into());
        conversation.ask("And?".into());
        conversation
    }

    #[test]
    fn undo_forgets_exchanges_and_keeps_the_system_message() {
        let mut conversation = asked_twice();
        assert!(conversation.awaits_an_answer());
        conversation.answer("So.".into());
        assert_eq!(conversation.undo().as_deref(), Some("And?"));
        assert_eq!(conversation.undo().as_deref(), Some("One?"));
        assert_eq!(conversation.undo(), None);
        assert_eq!(conversation, Conversation::new(Some("Be brief.")));
    }

    #[test]
    fn the_system_message_is_replaced() {
        let mut conversation = asked_twice();
        conversation.set_system("Be long.");
        assert_eq!(conversation.system().as_deref(), Some("Be long."));
        assert_eq!(conversation.messages().len(), 4);
        let mut empty = Conversation::default();
        assert_eq!(empty.system(), None);
        empty.set_system("Be.");
        assert_eq!(empty, Conversation::new(Some("Be.")));
        empty.set_system("");
        assert_eq!(empty, Conversation::default());
    }

    #[test]
    fn an_answer_is_forgotten_and_a_question_is_not() {
        let mut conversation = asked_twice();
        conversation.forget_answer();
        assert_eq!(conversation, asked_twice());
        conversation.answer("So.".into());
        conversation.forget_answer();
        assert_eq!(conversation, asked_twice());
        assert_eq!(conversation.with_a_question(), conversation);
    }

    #[test]
    fn files_hold_the_messages() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chat.json");
        asked_twice().save(&file).unwrap();
        assert_eq!(Conversation::load(&file).unwrap(), asked_twice());
        asked_twice().save(&file).unwrap();
        for wrong in ["{}", "[1]", "[{\"content\": \"x\"}]", "["] {
            std::fs::write(&file, wrong).unwrap();
            let message = Conversation::load(&file).unwrap_err().to_string();
            assert!(
                message.contains("chat.json") && message.contains("a JSON list of messages"),
                "{message}"
            );
            let message = asked_twice().save(&file).unwrap_err().to_string();
            assert!(message.contains("holds no conversation"), "{message}");
            assert_eq!(std::fs::read_to_string(&file).unwrap(), wrong);
        }
    }
}
