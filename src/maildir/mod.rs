//! What a Maildir tree is: its layouts, its folders' names, and how to find them.
