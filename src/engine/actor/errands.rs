//! Errands of Lisp's, each on a thread of its own.

use super::{Actor, Message, Request};
use crate::engine::core::Input;
use crate::threads;

impl Actor {
    /// What is asked for a slot while a request for it is at work waits for that; the last
    /// request stands for all.
    pub(super) fn errand(&mut self, slot: String, request: Request) {
        if let Some(waiting) = self.errands.get_mut(&slot) {
            *waiting = Some(request);
            return;
        }
        self.errands.insert(slot.clone(), None);
        let (number, what, errand) = request;
        let answer = |fields| Message::Answer(slot.clone(), number, fields);
        let nothing = answer(Vec::new());
        let whose = slot.clone();
        let (messages, failed) = (self.messages.clone(), self.messages.clone());
        let fs = self.world.fs.clone();
        let work = move || {
            let fields = errand(&fs).unwrap_or_else(|error| {
                let text = format!("{what}: {error:#}");
                let _ = messages.send(Message::Input(Input::Log("error", text)));
                Vec::new()
            });
            let _ = messages.send(Message::Answer(whose, number, fields));
        };
        let panicked = move |_| {
            let _ = failed.send(nothing);
        };
        if let Err(error) = threads::spawn("mailsync-errand", work, panicked) {
            let text = format!("{what}: {error:#}");
            let _ = self
                .messages
                .send(Message::Input(Input::Log("error", text)));
            let _ = self.messages.send(answer(Vec::new()));
        }
    }
}
