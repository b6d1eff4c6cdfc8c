//! Records as mbsync writes them, and as a crash or a disk leaves them.

use super::*;

const HEADER: &str = "FarUidValidity 7\nNearUidValidity 5\nMaxPulledUid 9\nMaxPushedUid 8\n\n";

fn agreed(text: &str) -> String {
    let state = match State::parse(text.as_bytes(), Column::Near) {
        Ok(state) => state,
        Err(line) => return format!("line {line}"),
    };
    assert_eq!(state.validity, 5);
    let messages = state.agreed.iter().map(|(uid, flags)| match flags {
        Some(flags) => format!(
            "{uid}:{}",
            flags
                .iter_names()
                .map(|(name, _)| &name[..1])
                .collect::<String>()
        ),
        None => format!("{uid}:-"),
    });
    messages.collect::<Vec<_>>().join(" ")
}

#[test]
fn states_are_read() {
    // lines after the header, messages that are here
    let table = [
        ("", ""),
        ("1 2 \n", "2:"),
        ("1 2 FS\n4 3 DRT\n", "2:FS 3:DRT"),
        ("1 2 PS\n", "2:S"),
        // not here, not there
        ("1 0 S\n", ""),
        ("0 2 S\n", "2:-"),
        // a placeholder, one that is to be expired, an old way to say that
        (
            "1 2 >S\n2 3 <\n3 4 ~F\n4 5 ^\n5 6 XS\n",
            "2:S 3: 4:FT 5: 6:S",
        ),
        // what is not understood is at a line of the file
        ("1 2\n", "line 6"),
        ("1 2 S", "line 1"),
        ("1 2 S\n2 3 ", "line 1"),
        ("x 2 S\n", "line 6"),
        ("1 2 S\n1 -2 S\n", "line 7"),
        ("1 02 S\n", "2:S"),
        ("1 4294967296 S\n", "line 6"),
        ("1 2 S\n3 2 F\n", "line 1"),
        ("1 2 S F\n", "line 6"),
        ("1 2 S\r\n", "line 6"),
        ("1 2 \0\n", "line 6"),
        ("1 2 S\n\n", "line 8"),
        ("\n1 2 S\n", "line 7"),
    ];
    for (lines, messages) in table {
        assert_eq!(agreed(&format!("{HEADER}{lines}")), messages, "{lines:?}");
    }
}

#[test]
fn headers_are_known_or_not() {
    // header, what becomes of a file with it
    let table = [
        ("FarUidValidity 7\nNearUidValidity 5\n\n", "2:S"),
        (
            "MasterUidValidity 7\nSlaveUidValidity 5\nMaxExpiredSlaveUid 0\n\n",
            "2:S",
        ),
        ("NearUidValidity 5\nMaxExpiredFarUid 3\n\n", "2:S"),
        ("FarUidValidity 7\n\n", "line 1"),
        ("NearUidValidity 5\nNews 1\n\n", "line 2"),
        ("NearUidValidity 5\nMaxPulledUid\n\n", "line 2"),
        ("NearUidValidity 5\nMaxPulledUid 1 2\n\n", "line 2"),
        ("NearUidValidity x\n\n", "line 1"),
        // isync 1.0
        ("7:9 5:0:8\n", "line 1"),
        ("\n", "line 1"),
        ("", "line 1"),
    ];
    for (header, expected) in table {
        assert_eq!(agreed(&format!("{header}1 2 S\n")), expected, "{header:?}");
    }
    assert_eq!(agreed("NearUidValidity 5\n"), "line 1");
}

#[test]
fn the_other_side_has_its_own_numbers() {
    let text = format!("{HEADER}1 2 S\n0 3 F\n4 0 D\n");
    let state = State::parse(text.as_bytes(), Column::Far).unwrap();
    let agreed = [(1, Some(Flags::SEEN)), (4, None)].into_iter().collect();
    assert_eq!(
        state,
        State {
            validity: 7,
            agreed
        }
    );
}

/// A folder with these names in `cur`, and what it says with such a state.
fn told(names: &[&str], state: &str, around: impl Fn(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for part in ["new", "cur"] {
        fs::create_dir(folder.join(part)).unwrap();
    }
    for name in names {
        fs::write(folder.join("cur").join(name), "").unwrap();
    }
    fs::write(folder.join(".uidvalidity"), "5\n9\n").unwrap();
    let file = folder.join(".mbsyncstate");
    fs::write(&file, format!("{HEADER}{state}")).unwrap();
    around(folder);
    match unpushed(folder, &file, Column::Near) {
        Unpushed::Known(differences) => differences.len().to_string(),
        Unpushed::Unknown(text) | Unpushed::Untold(text) => {
            text.replace(&folder.display().to_string(), "DIR")
        }
    }
}

#[test]
fn folders_are_compared_only_with_a_state_that_holds() {
    let names = ["a,U=2:2,S", "b:2,"];
    let told = |around: &dyn Fn(&Path)| told(&names, "1 2 S\n", around);
    assert_eq!(told(&|_| ()), "1");
    type Row<'a> = (&'a str, &'a dyn Fn(&Path));
    let table: [Row; 8] = [
        ("it was never synced", &|dir| {
            fs::remove_file(dir.join(".mbsyncstate")).unwrap()
        }),
        ("DIR/.mbsyncstate.lock is there", &|dir| {
            fs::write(dir.join(".mbsyncstate.lock"), "").unwrap();
        }),
        ("DIR/.mbsyncstate.journal is there", &|dir| {
            fs::write(dir.join(".mbsyncstate.journal"), "").unwrap();
        }),
        ("DIR/.mbsyncstate.new is there", &|dir| {
            fs::write(dir.join(".mbsyncstate.new"), "").unwrap();
        }),
        ("its UIDVALIDITY is another one", &|dir| {
            fs::write(dir.join(".uidvalidity"), "6\n9\n").unwrap();
        }),
        ("its UIDVALIDITY is another one", &|dir| {
            fs::remove_file(dir.join(".uidvalidity")).unwrap();
        }),
        ("line 1 of DIR/.mbsyncstate is not understood", &|dir| {
            fs::write(dir.join(".mbsyncstate"), [0; 4096]).unwrap();
        }),
        (
            "DIR cannot be read: No such file or directory (os error 2)",
            &|dir| {
                fs::remove_dir(dir.join("new")).unwrap();
            },
        ),
    ];
    for (expected, around) in table {
        assert_eq!(told(around), expected);
    }
}
