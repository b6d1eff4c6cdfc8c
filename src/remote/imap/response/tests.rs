//! What servers say, and what is made of it.

mod oracle;

use super::*;
use crate::remote::imap::frame::Framer;

fn say(bytes: &str) -> Vec<Response> {
    let (mut framer, mut responses) = (Framer::default(), Vec::new());
    let bytes = [bytes.as_bytes(), b"\r\n* 9 EXISTS\r\n"].concat();
    let mut rest = &bytes[..];
    while let Some(frame) = framer.next(&mut rest).expect("frames") {
        responses.push(read(&frame));
    }
    assert_eq!(
        responses.pop(),
        Some(Response::Exists(9)),
        "the next one is lost"
    );
    responses
}

fn shown_response(response: &Response) -> String {
    match response {
        Response::Done(tag, status, remark) => {
            let tag = String::from_utf8_lossy(tag);
            format!("{tag} {status:?} {}", shown_remark(remark))
                .trim_end()
                .to_owned()
        }
        Response::Said(status, remark) => format!("{status:?} {}", shown_remark(remark))
            .trim_end()
            .to_owned(),
        Response::More(bytes) => format!("more <{}>", String::from_utf8_lossy(bytes)),
        Response::Mailbox(it) => {
            let name = String::from_utf8_lossy(&it.name);
            let separator = String::from_utf8_lossy(&it.separator);
            let flags = [(it.selectable, " ok"), (it.gone, " gone"), (it.all, " all")];
            let flags = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
            let flags: String = flags.collect();
            let old = it.old.as_deref().map(String::from_utf8_lossy);
            let old = old.map_or(String::new(), |old| format!(" was {old}"));
            format!("mailbox {name} by <{separator}>{flags}{old}")
        }
        Response::Numbers(name, numbers) => {
            let all = [
                numbers.messages,
                numbers.next,
                numbers.validity,
                numbers.unseen,
                numbers.modseq,
            ];
            let all = all.map(|it| it.map_or("-".to_owned(), |it| it.to_string()));
            format!("{}: {}", String::from_utf8_lossy(name), all.join(" "))
        }
        Response::Capabilities(it) => {
            let words = it.0.iter().map(|word| String::from_utf8_lossy(word));
            format!("can {}", words.collect::<Vec<_>>().join(" "))
        }
        Response::Namespace(it) => {
            let it = it.as_ref().map(|(prefix, separator)| {
                [prefix, separator].map(|it| String::from_utf8_lossy(it).into_owned())
            });
            format!("namespace {it:?}")
        }
        other => format!("{other:?}"),
    }
}

fn shown_remark(remark: &Remark) -> String {
    let mut words = vec![remark.text.clone()];
    if !remark.code.is_empty() {
        words.insert(0, format!("[{} {}]", remark.code, remark.argument));
    }
    words.join(" ").trim_end().to_owned()
}

/// What they say, and what it is taken for.
const TABLE: &[(&str, &str)] = &[
    // the ends of commands, and remarks
    ("a1 OK done", "a1 Ok done"),
    ("a1 ok", "a1 Ok"),
    (
        "a1 NO [AUTHENTICATIONFAILED] Nein: ungültig",
        "a1 No [AUTHENTICATIONFAILED ] Nein: ungültig",
    ),
    ("a1 BAD \x1b[31mevil\x07", "a1 Bad  [31mevil"),
    ("* BYE", "Bye"),
    (
        "* OK [capability IMAP4rev1  idle] hi",
        "Ok [CAPABILITY IMAP4rev1  idle] hi",
    ),
    ("* OK [UIDNEXT 4] next", "Ok [UIDNEXT 4] next"),
    ("* OK [ALERT]", "Ok [ALERT ]"),
    ("* OK [unclosed", "Ok [unclosed"),
    (
        "* NO [NOTIFICATIONOVERFLOW] too many",
        "No [NOTIFICATIONOVERFLOW ] too many",
    ),
    (
        "* PREAUTH [CAPABILITY IMAP4rev1] hello",
        "Preauth [CAPABILITY IMAP4rev1] hello",
    ),
    ("* OK look {5}", "Ok look {5}"),
    ("+", "more <>"),
    ("+ idling", "more <idling>"),
    (
        "+eyJzdGF0dXMiOiI0MDEifQ==",
        "more <eyJzdGF0dXMiOiI0MDEifQ==>",
    ),
    // capabilities
    (
        "* CAPABILITY IMAP4rev1  AUTH=plain",
        "can AUTH=PLAIN IMAP4REV1",
    ),
    // mailboxes
    (r#"* LIST () "/" INBOX"#, "mailbox INBOX by </> ok"),
    (
        r#"* LIST (\HasNoChildren) "." "a b""#,
        "mailbox a b by <.> ok",
    ),
    (r#"* list (\noselect) NIL x"#, "mailbox x by <>"),
    (r#"* LIST (\NonExistent) "/" N2"#, "mailbox N2 by </> gone"),
    (
        r#"* LIST (\All \HasNoChildren) "/" "[Gmail]/All Mail""#,
        "mailbox [Gmail]/All Mail by </> ok all",
    ),
    (
        r#"* LIST () "/" N2 ("OLDNAME" (N))"#,
        "mailbox N2 by </> ok was N",
    ),
    (
        r#"* LIST () "/" N2 (OLDNAME ("a b"))"#,
        "mailbox N2 by </> ok was a b",
    ),
    (
        r#"* LIST () "/" N2 ("CHILDINFO" ("SUBSCRIBED"))"#,
        "mailbox N2 by </> ok",
    ),
    (
        "* LIST () \"/\" {5}\r\nCtr\u{e9}",
        "mailbox Ctr\u{e9} by </> ok",
    ),
    (r#"* LIST () "/" "a\"b\\""#, r#"mailbox a"b\ by </> ok"#),
    (r#"* LIST () "\\" Ctr&AOk-"#, r"mailbox Ctr&AOk- by <\> ok"),
    (r#"* LIST () "/" ()"#, "Strange"),
    (r#"* LIST () 5 x"#, "Strange"),
    (r#"* LIST NIL "/" x"#, "Strange"),
    (r#"* LIST "/" x"#, "Strange"),
    (r#"* LSUB () "/" x"#, "Other"),
    // numbers
    ("* STATUS A (MESSAGES 1 UIDNEXT 2 UNSEEN 1)", "A: 1 2 - 1 -"),
    (
        "* STATUS \"a b\" (HIGHESTMODSEQ 9223372036854775807 uidvalidity 7)",
        "a b: - - 7 - 9223372036854775807",
    ),
    (
        "* STATUS {5}\r\nCtr\u{e9} (MESSAGES 1)",
        "Ctr\u{e9}: 1 - - - -",
    ),
    ("* STATUS A ()", "A: - - - - -"),
    (
        "* STATUS A (SIZE 5 MAILBOXID (F1) MESSAGES 2)",
        "A: 2 - - - -",
    ),
    ("* STATUS A (MESSAGES NIL)", "Strange"),
    ("* STATUS A (MESSAGES 99999999999999999999)", "Strange"),
    ("* STATUS A (MESSAGES)", "Strange"),
    ("* STATUS A MESSAGES 1", "Strange"),
    ("* STATUS A", "Strange"),
    // what the selected mailbox has
    ("* 3 EXISTS", "Exists(3)"),
    ("* 3 exists", "Exists(3)"),
    ("* 3 EXPUNGE", "Expunged(3)"),
    ("* 3 RECENT", "Other"),
    (r#"* 3 FETCH (FLAGS (\Seen) UID 5 MODSEQ (9))"#, "Fetched"),
    ("* 3 FETCH (BODY[HEADER] {4}\r\n* 1 )", "Fetched"),
    ("* VANISHED 1:3,5", "Vanished"),
    ("* VANISHED (EARLIER) 41,43:116", "Vanished"),
    // others
    (
        r#"* NAMESPACE (("INBOX." ".")) NIL NIL"#,
        r#"namespace Some(["INBOX.", "."])"#,
    ),
    (
        r##"* NAMESPACE (("" "/")("#mh/" "/")) NIL NIL"##,
        "namespace None",
    ),
    (r#"* NAMESPACE NIL NIL NIL"#, "namespace None"),
    (r#"* FLAGS (\Seen)"#, "Other"),
    (r#"* ID ("name" "x" "support-url" NIL)"#, "Other"),
    (r#"* ESEARCH (TAG "a") UID COUNT 5"#, "Other"),
    ("* ENABLED CONDSTORE", "Other"),
    ("* XSOMETHING (((", "Strange"),
    ("* XSOMETHING new", "Other"),
    ("* ()", "Strange"),
    ("* \"LIST\" x", "Strange"),
    ("*", "Strange"),
    ("", "Strange"),
    ("garbage", "Strange"),
    ("HTTP/1.1 400 Bad Request", "Strange"),
    ("* 99999999999999999999 EXISTS", "Other"),
    ("* 5", "Strange"),
];

#[test]
fn what_servers_say() {
    for (bytes, expected) in TABLE {
        let found: Vec<String> = say(bytes).iter().map(shown_response).collect();
        assert_eq!(found, [*expected], "{bytes:?}");
    }
}

#[test]
fn text_is_bounded() {
    let [Response::Said(_, remark)] = &say(&format!("* OK {}", "é".repeat(5000)))[..] else {
        panic!("it was said");
    };
    assert_eq!(remark.text.chars().count(), MOST_TEXT);
}
