;;; mailsync-accounts-test.el --- Configurations, right and wrong  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Code:

;; It says so when it is loaded, for a name of another machine.
(require 'tramp)
(require 'cl-lib)
(require 'ert)
(require 'mailsync-accounts)
(require 'mailsync-test-helper)
(require 'wid-edit)

(defmacro accounts-test-read (accounts &rest body)
  "Read ACCOUNTS and run BODY with `names' of the valid ones and `said'."
  (declare (indent 1))
  `(let* ((said nil)
          (mailsync--said nil)
          (mailsync-accounts ,accounts)
          (names (cl-letf (((symbol-function 'message)
                            (lambda (format &rest args)
                              (push (apply #'format format args) said))))
                   (mapcar #'car (mailsync-accounts-read)))))
     ,@body))

(ert-deftest mailsync-accounts-faults ()
  "Each mistake is said once, names account and key, and stops that account alone."
  (dolist (row '((("bad" :maildirs "~/x") ("bad" ":maildirs" ":maildir"))
                 (("bad" :maildir 7) ("bad" ":maildir is 7" "directory"))
                 (("bad" :maildir "") ("bad" ":maildir"))
                 (("bad" :maildir ("~/x" nil)) ("bad" ":maildir"))
                 (("bad" :maildir "/a\0b") ("bad" ":maildir"))
                 ;; Its name would be asked for there, and Emacs would wait.
                 (("bad" :maildir "/ssh:host.invalid:~/Mail") ("bad" ":maildir" "this machine"))
                 (("bad" :maildir "~/x" :remote (ssh "host")) ("bad" ":remote" "watcher" "imap"))
                 (("bad" :maildir "~/x" :remote (watcher . "x")) ("bad" ":remote"))
                 (("bad" :maildir "~/x" :remote (watcher)) ("bad" ":remote"))
                 (("bad" :maildir "~/x" :remote (watcher "a" b)) ("bad" ":remote"))
                 (("bad" :maildir "~/x" :remote (watcher "/ssh:h:/x")) ("bad" ":remote"))
                 (("bad" :maildir "~/x" :remote "ssh host") ("bad" ":remote"))
                 (("bad" :maildir "~/x" :remote ((watcher "a") (imap :hots "b")))
                  ("bad" ":remote" ":hots" ":host"))
                 (("bad" :maildir "~/x" :prefix "a\0b") ("bad" ":prefix"))
                 (("bad" :layout auto) ("bad" ":maildir is missing"))
                 (("bad" :maildir "~/x" :layout "auto") ("bad" ":layout" "maildir++"))
                 (("bad" :maildir "~/x" :layout courier) ("bad" ":layout is courier"))
                 (("bad" :maildir "~/x" :poll 0) ("bad" ":poll"))
                 (("bad" :maildir "~/x" :poll "30") ("bad" ":poll"))
                 ;; Too little for the module's clock would be a busy loop.
                 (("bad" :maildir "~/x" :poll 1e-10) ("bad" ":poll is 1e-10" "at least 0.1"))
                 (("bad" :maildir "~/x" :poll 0.09) ("bad" ":poll" "at least 0.1"))
                 (("bad" :remote (imap :user "me")) ("bad" ":remote" "needs :host"))
                 (("bad" :maildir nil :remote nil) ("bad" ":maildir is missing"))
                 (("bad" :maildir "~/x" :coalesce-delay -1) ("bad" ":coalesce-delay"))
                 (("bad" :maildir "~/x" :inter-delay (("a" . x))) ("bad" ":inter-delay"))
                 (("bad" :maildir "~/x" :gnus-groups (("a" . "g"))) ("bad" ":gnus-groups"))
                 (("bad" :maildir "~/x" :ignore "Spam") ("bad" ":ignore"))
                 (("bad" :maildir) ("bad" "in turn"))
                 (("bad" . "~/x") ("bad" "in turn"))
                 ((bad :maildir "~/x") ("bad" "name"))
                 ("bad" ("bad" "name"))
                 (nil ("nil" "name"))
                 (("good" :maildir "~/y") ("good" "another"))))
    (accounts-test-read (list '("good" :maildir "~/x") (car row)
                              '("also" :maildir ("~/a" "~/b")))
      (should (equal names '("good" "also")))
      (should (= 1 (length said)))
      (dolist (word (cadr row))
        (ert-info ((format "%S, %S" word (car said)))
          (should (string-match-p (regexp-quote word) (car said))))))))

(ert-deftest mailsync-accounts-all-keys ()
  "Every documented key is taken, as README.org shows it."
  (accounts-test-read
      '(("work" :maildir "~/Mail/work" :layout nested :poll 30.5
         :syncer (mailsync-mbsync "work")
         :remote ((watcher "watch") (watcher "ssh" "other" "watch_maildirs")))
        ("home" :maildir ("~/Maildir") :syncer ignore
         :remote (watcher "ssh" "home.example" "mailsync-watch")
         :inter-delay ((t . 5) ("lists/*" . 600)) :base-delay 0 :max-delay 9
         :poll-period 0 :check-timeout 1 :sync-timeout 1 :prefix "x" :separator "."
         :coalesce-delay 0.5 :coalesce-max-delay 3 :ignore ("Spam" "Trash/*")
         :gnus-server "fix" :gnus-groups (("a" "nnml:a")))
        ("often" :maildir "~/x" :layout nil :poll 0.1)
        ("never" :maildir "~/x" :poll nil)
        ("far" :remote (watcher "a")))
    (should (equal names '("work" "home" "often" "never" "far")))
    (should-not said)
    (should (equal (mailsync-account-get "home" :coalesce-delay) 0.5))
    (should (equal (mailsync-account-get "work" :coalesce-delay) 0.2))
    (should (equal (mailsync-account-get "home" :gnus-server) "fix"))
    (should-not (mailsync-account-get "work" :gnus-server))
    (let ((work (aref (mailsync-accounts-for-module mailsync-accounts--valid) 0)))
      (should (equal (substring work 0 3) ["work" 0.2 2.0]))
      (should (equal (aref (aref work 3) 0)
                     (vector (expand-file-name "~/Mail/work") "nested" 30.5))))))

;; As the module has it: [KIND INTER MAX FOLDERS [WORDS SEARCH ENVIRONMENT PREFIX SEPARATOR]].
(ert-deftest mailsync-accounts-remote ()
  "One watcher or several, with the delays and the names of their account."
  (dolist (row '(((:remote (watcher "ssh" "h" "w")) (["ssh" "h" "w"]) "" "." 5.0 600.0)
                 ((:remote ((watcher "a") (watcher "b" "é"))) (["a"] ["b" "\303\251"])
                  "" "." 5.0 600.0)
                 ((:remote (watcher "~/a") :prefix "p." :separator "/" :max-delay 7
                   :inter-delay (("x" . 1) (t . 9)))
                  ("~/a") "p." "/" 9.0 7.0)
                 ((:remote nil :maildir "/m") nil)))
    (accounts-test-read (list (cons "a" (car row)))
      (should (equal names '("a")))
      (let ((remotes (aref (aref (mailsync-accounts-for-module
                                  mailsync-accounts--valid)
                                 0)
                           5)))
        (pcase-let ((`(,words ,prefix ,separator ,inter ,max) (cdr row)))
          (should (= (length words) (length remotes)))
          (seq-mapn (lambda (words remote)
                      (should (equal (substring remote 0 4)
                                     (vector "watcher" inter max [])))
                      (should (equal (aref (aref remote 4) 0)
                                     (if (stringp words)
                                         (vector (expand-file-name words))
                                       words)))
                      (should (equal (substring (aref remote 4) 3)
                                     (vector prefix separator))))
                    words remotes))))))

(ert-deftest mailsync-accounts-changed-in-place ()
  "What is in force stays until the accounts are read again."
  (let ((account (list "a" :maildir "/x" :poll 7)))
    (accounts-test-read (list account)
      (setcdr account nil)
      (should (equal (mailsync-account-get "a" :poll) 7)))))

(defconst accounts-test-files
  '(("/ssh:h.invalid:/x" t) ("/ssh:h.invalid:~/x" t) ("/ssh:u@h.invalid#22:x" t)
    ("/ssh:h.invalid|sudo:h.invalid:/x" t) ("/ssh:[::1]:/x" t) ("/sudo::/x" t) ("/-:h.invalid:/x" t)
    ("/x" nil) ("~/x" nil) ("x" nil) ("" nil) ("/abc:d" nil) ("/abc:d/e" nil) ("/a/b:c:/d" nil)
    ("/:/ssh:h.invalid:/x" nil) ("ssh:h.invalid:/x" nil) ("~/a:b:c" nil))
  "Names of files, and whether they are another machine's.")

(ert-deftest mailsync-accounts-tramp-is-not-loaded ()
  "Another machine's file is refused by its name alone, in one message for an account."
  (let ((looked `(mapcar (lambda (name)
                           (list name (and (mailsync--remote-file-p name) t)))
                         ',(mapcar #'car accounts-test-files))))
    ;; Tramp, which is loaded here, says the same.
    (should (equal (eval looked t) accounts-test-files))
    (with-temp-buffer
      (test-emacs
       "--eval"
       (format
        "%S"
        `(progn
           (require 'mailsync-report)
           (setq mailsync-accounts '(("one" :maildir "/ssh:h.invalid:~/Mail")
                                     ("two" :maildir ("~/x" "/ssh:h.invalid:/x"))
                                     ("run" :maildir "~/y" :syncer
                                      (mailsync-mbsync "w" :config "/ssh:h.invalid:~/rc"))
                                     ("far" :remote (watcher "/ssh:h.invalid:/x"))
                                     ("good" :maildir "~/z")))
           (let* ((accounts (mailsync-accounts-read))
                  (_ (mailsync-accounts-for-module accounts))
                  (_ (mailsync-report-text))
                  (looked ,looked))
             (print (list (mapcar #'car accounts) looked (featurep 'tramp)))))))
      ;; Emacs may have something to say, too.
      (let ((lines (seq-filter (lambda (line) (string-prefix-p "mailsync: " line))
                               (split-string (buffer-string) "\n")))
            (expected '(("one" ":maildir" "/ssh:h.invalid:~/Mail")
                        ("two" ":maildir" "/ssh:h.invalid:/x")
                        ("far" ":remote" "/ssh:h.invalid:/x")
                        ("run" ":config" "/ssh:h.invalid:~/rc"))))
        (should (= (length lines) (length expected)))
        (cl-mapc (pcase-lambda (line `(,account ,key ,value))
                   (should (string-match-p
                            (format "account \"%s\".* %s is .*\"%s\".*, but has to be "
                                    account key (regexp-quote value))
                            line)))
                 lines expected))
      (re-search-backward "^(")
      (should (equal (read (current-buffer))
                     (list '("run" "good") accounts-test-files nil))))))

(ert-deftest mailsync-accounts-relative ()
  "Where a relative maildir is does not depend on the current buffer."
  (let ((default-directory "/ssh:host.invalid:/"))
    (accounts-test-read '(("a" :maildir "Mail"))
      (should (equal (aref (aref (aref (aref (mailsync-accounts-for-module
                                              mailsync-accounts--valid)
                                             0)
                                       3)
                                 0)
                           0)
                     (expand-file-name "~/Mail"))))))

(ert-deftest mailsync-accounts-default ()
  "Without accounts it is $MAILDIR, or else ~/Maildir."
  (let ((process-environment (cons "MAILDIR=/tmp/x" process-environment)))
    (accounts-test-read nil
      (should (equal names '("mail")))
      (should (equal (mailsync-account-get "mail" :maildir) "/tmp/x"))))
  (let ((process-environment (cons "MAILDIR" process-environment)))
    (accounts-test-read nil
      (should (equal (mailsync-account-get "mail" :maildir) "~/Maildir")))))

(ert-deftest mailsync-accounts-none ()
  "`none' is none: neither $MAILDIR nor what was discovered, and no fault; another symbol is one."
  (let ((process-environment (cons "MAILDIR=/tmp/x" process-environment)))
    (dolist (mailsync-accounts--discovered '(nil looking default (("found" :maildir "/tmp/y"))))
      (accounts-test-read 'none
        (should-not names)
        (should-not said)
        (should-not mailsync-accounts--faults)))
    (accounts-test-read 'nobody
      (should-not names)
      (should (string-search "not a list" (car said))))))

(ert-deftest mailsync-accounts-without-a-list ()
  "One account without the list around it is one mistake, and said so."
  (accounts-test-read '("home" :maildir "~/Maildir" :syncer (mailsync-mbsync "home"))
    (should-not names)
    (should (= 1 (length said)))
    (should (string-search "one account, \"home\", but has to be a list" (car said))))
  ;; What is no account at all is called what it is.
  (accounts-test-read '(bad ("a" :maildir "/x"))
    (should (equal names '("a")))
    (should (string-search "the account bad is left out" (car said)))))

(ert-deftest mailsync-accounts-type ()
  "Customize knows what the option may be."
  (dolist (row '((nil t) (none t) ((("a" :maildir "~/x")) t) (nobody nil) ("x" nil)))
    (should (eq (and (widget-apply (widget-convert (get 'mailsync-accounts 'custom-type))
                                   :match (car row))
                     t)
                (cadr row)))))

(ert-deftest mailsync-accounts-delays ()
  "A delay that is none is said, and the standard value used."
  (let ((mailsync-coalesce-delay "0.2"))
    (accounts-test-read '(("a" :maildir "/x"))
      (should (equal names '("a")))
      (should (string-match-p "mailsync-coalesce-delay" (car said)))
      (should (equal (mailsync-account-get "a" :coalesce-delay) 0.2)))))

(provide 'mailsync-accounts-test)
;;; mailsync-accounts-test.el ends here
