//! Resolving file names for Lisp, on threads of their own.

use super::{Actor, Message, Names};
use crate::engine::core::Input;
use crate::engine::names;
use crate::threads;

impl Actor {
    /// What is asked for a slot while a request for it is at work waits for that; the last
    /// request stands for all.
    pub(super) fn resolve(&mut self, slot: String, names: Names) {
        if let Some(waiting) = self.resolving.get_mut(&slot) {
            *waiting = Some(names);
            return;
        }
        self.resolving.insert(slot.clone(), None);
        let (request, names) = names;
        let answer = |pairs| Message::Resolved(slot.clone(), request, pairs);
        let nothing = answer(Vec::new());
        let whose = slot.clone();
        let (messages, failed) = (self.messages.clone(), self.messages.clone());
        let fs = self.world.fs.clone();
        let work = move || {
            let pairs = names::resolve(names, &fs).unwrap_or_else(|error| {
                let text = format!("resolving names: {error:#}");
                let _ = messages.send(Message::Input(Input::Log("error", text)));
                Vec::new()
            });
            let _ = messages.send(Message::Resolved(whose, request, pairs));
        };
        let panicked = move |_| {
            let _ = failed.send(nothing);
        };
        if let Err(error) = threads::spawn("mailsync-names", work, panicked) {
            let text = format!("resolving names: {error:#}");
            let _ = self
                .messages
                .send(Message::Input(Input::Log("error", text)));
            let _ = self.messages.send(answer(Vec::new()));
        }
    }
}
