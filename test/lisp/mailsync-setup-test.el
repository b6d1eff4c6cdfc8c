;;; mailsync-setup-test.el --- Discovery, from configurations to the form that is kept  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A throwaway home directory with configurations in it, and the real module.
;; What configurations mean is tested in Rust (src/errand/discover/tests.rs);
;; here, that it is what Emacs then watches, shows and writes.

;;; Code:

(require 'mailsync-test-helper)
(require 'mailsync-discover)
(require 'mailsync-setup)

(defvar setup-test-said nil
  "What was said in the echo area, newest first.")

(defvar gnus-init-file)
(defvar gnus-opened-servers)
(defvar gnus-secondary-select-methods)
(defvar gnus-select-method)

(defmacro setup-test-with (files maildirs &rest body)
  "Run BODY in a new home directory `home' with FILES and MAILDIRS.
FILES is an alist from names to texts.  `mailsync-accounts' is nil."
  (declare (indent 2))
  `(let* ((home (file-truename (make-temp-file "mailsync-home" t)))
          (process-environment (append (list (concat "HOME=" home) "MAILDIR"
                                             "XDG_CONFIG_HOME")
                                       process-environment))
          (abbreviated-home-dir nil)
          (mailsync-accounts nil)
          (mailsync-accounts--discovered nil)
          (mailsync-sync-at-start nil)
          (mailsync-coalesce-delay 0.02)
          (mailsync-changed-functions (list #'test-note-changes))
          (test-changes nil)
          (setup-test-said nil)
          (user-init-file nil))
     (pcase-dolist (`(,name . ,text) ,files)
       (let ((file (expand-file-name name home))
             (coding-system-for-write 'utf-8-unix))
         (make-directory (file-name-directory file) t)
         (write-region text nil file nil 'silent)))
     (dolist (maildir ,maildirs)
       (test-maildir (expand-file-name maildir home)))
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (cl-letf* ((said (symbol-function 'message))
                ((symbol-function 'message)
                 (lambda (format &rest args)
                   (when format
                     (push (apply #'format format args) setup-test-said))
                   (apply said format args))))
       (unwind-protect
           (progn ,@body)
         (mailsync-mode -1)
         (when (get-buffer mailsync-setup--buffer)
           (kill-buffer mailsync-setup--buffer))
         (when (fboundp 'mailsync-module--threads)
           (test-wait (lambda () (zerop (mailsync-module--threads)))))
         (delete-directory home t)))))

(defconst setup-test-mbsyncrc "\
IMAPAccount work
Host imap.example.org
User me
PassCmd \"echo geheim\"
TLSType IMAPS

IMAPStore work-far
Account work

MaildirStore work-near
Path ~/Mail/work/
Inbox ~/Mail/work/INBOX
SubFolders Verbatim

MaildirStore home-near
Path \"~/Mail/zu hause/\"
Inbox \"~/Mail/zu hause/INBOX\"

Channel work
Far :work-far:
Near :work-near:
Patterns *

Channel home
Far :home-far:
Near :home-near:
Patterns *
")

(defun setup-test-discovered ()
  "Wait until accounts were discovered; return them as they are used."
  (test-wait (lambda () (not (memq mailsync-accounts--discovered '(nil looking)))))
  mailsync-accounts--valid)

(defun setup-test-setup ()
  "Call `mailsync-setup' and wait for its buffer; return its text."
  (when (get-buffer mailsync-setup--buffer)
    (kill-buffer mailsync-setup--buffer))
  (mailsync-setup)
  (with-current-buffer (test-wait (lambda () (get-buffer mailsync-setup--buffer)))
    (buffer-string)))

(defun setup-test-said (text)
  "How often something with TEXT was said."
  (seq-count (lambda (said) (string-search text said)) setup-test-said))

(ert-deftest setup-test-whole-way ()
  "With a ~/.mbsyncrc alone the right directories are watched; the form is the same."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc))
      '("Mail/work/INBOX" "Mail/work/a/b" "Mail/zu hause/INBOX" "Mail/other")
    (mailsync-mode 1)
    (should (equal (mailsync-mode-line--summary) '("starting")))
    (let ((accounts (setup-test-discovered)))
      (should (equal accounts
                     '(("work" :maildir "~/Mail/work" :syncer (mailsync-mbsync "work"))
                       ("home" :maildir "~/Mail/zu hause"
                        :syncer (mailsync-mbsync "home")))))
      (test-watching "work" "home")
      (test-deliver (expand-file-name "Mail/work/a/b" home))
      (test-deliver (expand-file-name "Mail/other" home))
      (test-deliver (expand-file-name "Mail/zu hause/INBOX" home))
      (test-wait (lambda () (and (test-changed "a/b") (test-changed "INBOX"))))
      (should (equal (plist-get (test-changed "a/b") :account) "work"))
      (should (equal (plist-get (test-changed "INBOX") :account) "home"))
      (should-not (test-changed "other"))
      (should (= 1 (setup-test-said "found work (mbsync), home (mbsync)")))
      (should (string-search "from ~/.mbsyncrc line 19: channel work" (test-log)))
      ;; What it shows is what is used, and is right.
      (let* ((text (setup-test-setup))
             (mailsync-accounts
              (with-current-buffer mailsync-setup--buffer
                (cdr (mailsync-setup--form)))))
        (should (equal mailsync-accounts accounts))
        (should (equal (mailsync-accounts-read) accounts))
        (should-not mailsync-accounts--faults)
        (dolist (part '(";; from ~/.mbsyncrc line 19: channel work\n"
                        ":remote (imap :host \"imap.example.org\" :user \"me\")\n"))
          (should (string-search part text)))
        (should-not (string-search "geheim" text))
        (should-not (string-search "geheim" (test-log))))
      ;; It goes on, and again without a word.
      (should mailsync--running)
      (mailsync-accounts-read)
      (mailsync-restart)
      (should (eq (test-state "work") 'watching)))))

(ert-deftest setup-test-anew ()
  "A restart looks again; the accounts that stay are watched without a gap."
  (setup-test-with '((".mbsyncrc" . "MaildirStore m\nInbox ~/one\n\nChannel one\nNear :m:\nFar :f:\n"))
      '("one" "two")
    (mailsync-mode 1)
    (setup-test-discovered)
    (test-watching "one")
    (write-region "\nMaildirStore n\nInbox ~/two\n\nChannel two\nNear :n:\nFar :f:\n"
                  nil (expand-file-name ".mbsyncrc" home) t 'silent)
    (mailsync-restart)
    (should (equal (mapcar #'car mailsync-accounts--valid) '("one")))
    (should (eq (test-state "one") 'watching))
    (test-watching "one" "two")
    ;; What the user says holds, and then what he no longer says.
    (setq mailsync-accounts `(("mine" :maildir ,(expand-file-name "one" home))))
    (mailsync-restart)
    (should (equal (mapcar #'car mailsync-accounts--valid) '("mine")))
    (test-watching "mine")
    (setq mailsync-accounts nil)
    (mailsync-restart)
    (test-watching "one" "two")
    (should (equal (mapcar #'car mailsync-accounts--valid) '("one" "two")))))

(ert-deftest setup-test-nothing ()
  "Where nothing is found it is ~/Maildir, and that is said."
  (setup-test-with nil nil
    (mailsync-mode 1)
    (should (equal (setup-test-discovered) '(("mail" :maildir "~/Maildir"))))
    (should (= 1 (setup-test-said "found no configuration of a syncer")))
    (test-wait (lambda () (eq (test-state "mail") 'waiting)))
    (should (string-search "Nothing was found" (setup-test-setup)))
    (with-current-buffer mailsync-setup--buffer
      (should-error (mailsync-setup--form) :type 'user-error))))

(ert-deftest setup-test-ambiguous ()
  "Of two syncers for one Maildir none is run; the form shows both."
  (setup-test-with
      '((".mbsyncrc" . "IMAPStore f\nHost h\n\nMaildirStore m\nInbox ~/one\n\nChannel c\nNear :m:\nFar :f:\n")
        (".offlineimaprc" . "[general]\naccounts = A\n[Account A]\nlocalrepository = l\n\
remoterepository = r\n[Repository l]\ntype = Maildir\nlocalfolders = ~/one\n\
[Repository r]\ntype = IMAP\nremotehost = h\nremotepass = geheim\n"))
      '("one")
    (mailsync-mode 1)
    (should (equal (setup-test-discovered) '(("c" :maildir "~/one"))))
    (should (= 1 (setup-test-said "c (only watched: choose a syncer)")))
    (let ((text (setup-test-setup)))
      (should (string-search ";; choose :syncer (mailsync-mbsync \"c\")\n" text))
      (should (string-search ";; choose :syncer (mailsync-offlineimap \"A\")\n" text))
      (should-not (string-search "geheim" text)))))

;; Security: S24.
(ert-deftest setup-test-odd-names ()
  "Whatever is in a name, the form is read back as it was, and no comment ends early."
  (setup-test-with
      '((".mbsyncrc" . "MaildirStore m\nInbox \"~/a \\\"b\\\\\r;\u00e9) (error)\"\n\nChannel \"x) \\\"\"\nNear :m:\nFar :f:\n"))
      nil
    (test-maildir (expand-file-name "a \"b\\\r;\u00e9) (error)" home))
    (mailsync-mode 1)
    (let ((accounts (setup-test-not-the-default)))
      (setup-test-setup)
      (with-current-buffer mailsync-setup--buffer
        (should (equal (cdr (mailsync-setup--form)) accounts)))))
  ;; Any bytes, with text beside them.
  (dolist (name '("\303\251\377" "\377" "\303\251" "a\nb\t\"\\" "plain"))
    (let* ((name (decode-coding-string name 'utf-8))
           (text (mailsync-setup--print (list name))))
      (should-not (string-match-p "\n" text))
      (should (equal (encode-coding-string text 'utf-8)
                     (encode-coding-string (decode-coding-string
                                            (encode-coding-string text 'utf-8) 'utf-8)
                                           'utf-8)))
      (should (equal (mailsync-pipe-encode (car (read text)))
                     (mailsync-pipe-encode name))))))

(defun setup-test-not-the-default ()
  "The accounts that were discovered, not the default."
  (setup-test-discovered)
  (should (consp mailsync-accounts--discovered))
  mailsync-accounts--discovered)

(ert-deftest setup-test-suggestions ()
  "What is suggested for `:remote' is right as it stands."
  (setup-test-with
      '((".mbsyncrc" . "IMAPStore f\nHost h\nPort 1143\nUser u\nTLSType None\n\n\
IMAPStore g\nHost g\n\nMaildirStore m\nInbox ~/one\n\nMaildirStore n\nInbox ~/two\n\n\
Channel c\nNear :m:\nFar :f:\n\nChannel d\nNear :n:\nFar :g:\n"))
      '("one" "two")
    (let ((text (replace-regexp-in-string ";; :remote" ":remote" (setup-test-setup))))
      (with-temp-buffer
        (insert text)
        (let ((accounts (cdr (mailsync-setup--form))))
          (should (equal (mapcar (lambda (account) (plist-get (cdr account) :remote))
                                 accounts)
                         '((imap :host "h" :port 1143 :user "u" :tls none)
                           (imap :host "g" :tls starttls)))))))))

(ert-deftest setup-test-changed-form ()
  "What the user has changed in the form is not thrown away unasked."
  (setup-test-with nil '("Maildir")
    (setup-test-setup)
    (with-current-buffer mailsync-setup--buffer
      (insert ";; mine\n"))
    (cl-letf (((symbol-function 'yes-or-no-p) (lambda (&rest _) nil)))
      (should-error (mailsync-setup) :type 'user-error))
    (should (string-prefix-p ";; mine" (with-current-buffer mailsync-setup--buffer
                                         (buffer-string))))))

(ert-deftest setup-test-set-meanwhile ()
  "Accounts that are taken away without a restart are discovered with the next change."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX" "a")
    (setq mailsync-accounts `(("a" :maildir ,(expand-file-name "a" home))))
    (mailsync-mode 1)
    (test-watching "a")
    (setq mailsync-accounts nil)
    (mailsync--reconfigure t)
    (test-watching "work")))

;;;; An engine for this alone

(ert-deftest setup-test-alone ()
  "While mailsync is off an engine runs for the question, and then ends."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX")
    (let ((text (setup-test-setup)))
      (should-not mailsync--running)
      (should-not mailsync-mode)
      (should (string-search "(\"work\"\n         :maildir \"~/Mail/work\"" text))
      ;; Nothing is there of this one.
      (should (string-search "        ;; (\"home\"\n" text))
      (should (string-search "~/Mail/zu hause is left out: it is not there yet" text)))
    (test-wait (lambda () (zerop (mailsync-module--threads))))
    ;; Whoever is turned on meanwhile goes on.
    (kill-buffer mailsync-setup--buffer)
    (mailsync-setup)
    (mailsync-mode 1)
    (test-wait (lambda () (get-buffer mailsync-setup--buffer)))
    (test-watching "work")
    (should mailsync--running)))

(ert-deftest setup-test-no-answer ()
  "Where no answer comes the default is used, and what comes at last is, too."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX" "Maildir")
    (let (late)
      (cl-letf (((symbol-function 'mailsync-discover)
                 (lambda (_slot callback) (setq late callback))))
        (mailsync-mode 1)
        (mailsync-discover--late mailsync--running)
        (should (equal (mapcar #'car mailsync-accounts--valid) '("mail")))
        (test-watching "mail"))
      (funcall late '(((:name "work" :usable t :maildirs ("~/Mail/work")))))
      (test-watching "work"))
    (should (equal (mapcar #'car mailsync-accounts--valid) '("work")))))

(ert-deftest setup-test-on-and-off ()
  "Who turns it off before there is an answer is left with nothing."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX")
    (let ((timers (length timer-list))
          (hook (and (boundp 'gnus-started-hook) (symbol-value 'gnus-started-hook))))
      (dotimes (_ 10)
        (mailsync-mode 1)
        (mailsync-mode -1)
        (should-not mailsync-accounts--discovered)
        (should-not mailsync--requests))
      (test-wait (lambda () (zerop (mailsync-module--threads))))
      (should-not mailsync-accounts--discovered)
      (should (equal hook (and (boundp 'gnus-started-hook)
                               (symbol-value 'gnus-started-hook))))
      (should (<= (length timer-list) timers)))
    (mailsync-mode 1)
    (test-watching "work")))

(ert-deftest setup-test-none ()
  "Who says that there are no accounts gets none, and nothing is looked for."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX" "Maildir")
    (setq mailsync-accounts 'none)
    (cl-letf (((symbol-function 'mailsync-discover-begin)
               (lambda () (error "It is looked for accounts"))))
      (mailsync-mode 1)
      (should mailsync-mode)
      (mailsync-restart)
      (should-not mailsync-accounts--discovered)
      (should-not mailsync--states)
      (should (string-search "no account" mailsync-mode-line--string))
      (let ((mailsync-gnus-watch-nnimap t))
        (mailsync-status-update)
        (should (string-search "no server" mailsync-mode-line--string)))
      (should (string-search "mailsync-accounts: none" (mailsync-log-copy))))
    ;; And it may be otherwise.
    (setq mailsync-accounts nil)
    (mailsync-restart)
    (test-watching "work")))

(ert-deftest setup-test-answer-cut-off ()
  "An answer that is not whole is none."
  (should-not (mailsync-discover--read nil))
  (should-not (mailsync-discover--read '("account" "a" "t")))
  (should (equal (mailsync-discover--read '("end" "" "")) '(nil))))

;;;; Gnus

(ert-deftest setup-test-gnus ()
  "Of Gnus, once it is loaded, the directories of nnmaildir are watched."
  (setup-test-with nil '("mail/one" "mail/two" "elsewhere")
    (make-directory (expand-file-name "links" home))
    (make-symbolic-link (expand-file-name "elsewhere" home)
                        (expand-file-name "links/elsewhere" home))
    (require 'gnus)
    (require 'gnus-start)
    (let ((gnus-select-method '(nnnil ""))
          (gnus-started-hook gnus-started-hook)
          (gnus-secondary-select-methods '((nnmaildir "m" (directory "~/mail"))
                                           (nnmaildir "x" (directory (error "No")))
                                           (nnmaildir "r" (directory "/ssh:h.invalid:/m"))
                                           (nnimap "l" (nnimap-address "localhost"))
                                           (nnimap "f" (nnimap-address "far.example"))))
          (gnus-opened-servers nil))
      (mailsync-mode 1)
      (setup-test-discovered)
      (test-watching "m")
      (let ((text (setup-test-setup)))
        (should (string-search "from Gnus: the server nnmaildir:m shows ~/mail" text))
        (should (string-search "nnimap:l is on this machine" text))
        (should (string-search "nnimap:f on other machines" text)))
      ;; Its init file comes to this later.
      (setq gnus-opened-servers '(((nnmaildir "l" (directory "~/links")) ok)))
      (run-hooks 'gnus-started-hook)
      (test-watching "m" "l")
      (mailsync-stop)
      (should-not (memq #'mailsync-discover--gnus-started gnus-started-hook)))))

(ert-deftest setup-test-gnus-not-loaded ()
  "Gnus is not loaded for this."
  (setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc)) '("Mail/work/INBOX")
    (let ((coding-system-for-read 'utf-8))
      (with-temp-buffer
        (should (equal 0 (test-emacs
                          "-L" (file-name-directory (locate-library "mailsync-setup"))
                          "--eval" (format "%S" '(progn
                                                   (require 'mailsync)
                                                   (when (featurep 'mailsync-discover)
                                                     (error "Too early"))
                                                   (mailsync-mode 1)
                                                   (while (eq mailsync-accounts--discovered 'looking)
                                                     (accept-process-output nil 0.02))
                                                   (when (featurep 'gnus)
                                                     (error "Gnus is loaded"))
                                                   (princ mailsync-accounts--discovered))))))
        (should (string-search "~/Mail/work" (buffer-string)))))))

;;;; Keeping

(defmacro setup-test-keep (before &rest body)
  "Have the form kept in a file with the text BEFORE, and run BODY.
There `file' is the file and `text' what is in it then; questions are answered
by `answer'."
  (declare (indent 1))
  `(setup-test-with `((".mbsyncrc" . ,setup-test-mbsyncrc) ("init.el" . ,,before))
       '("Mail/work/INBOX")
     (let* ((file (expand-file-name "init.el" home))
            (kept (lambda ()
                    (setup-test-setup)
                    (with-current-buffer mailsync-setup--buffer
                      (mailsync-setup-keep file))))
            (text (lambda ()
                    (with-temp-buffer
                      (insert-file-contents file)
                      (buffer-string)))))
       (unwind-protect
           (progn ,@body)
         (when-let ((buffer (find-buffer-visiting file)))
           (with-current-buffer buffer
             (set-buffer-modified-p nil)
             (kill-buffer)))))))

(ert-deftest setup-test-kept ()
  "The form goes before what turns mailsync on, is in force, and is read again."
  (setup-test-keep ";; mailsync-accounts, \"mailsync-accounts\"\n(require 'mailsync)\n(mailsync-mode 1)\n; end"
    (mailsync-mode 1)
    (test-watching "work")
    (funcall kept)
    (should (equal mailsync-accounts
                   '(("work" :maildir "~/Mail/work" :syncer (mailsync-mbsync "work")))))
    (test-wait (lambda () (not mailsync--configure-timer)))
    (should (eq (test-state "work") 'watching))
    (should-not (get-buffer mailsync-setup--buffer))
    (let ((text (funcall text)))
      (should (string-match-p (concat "\\`;; mailsync-accounts.*\n(require 'mailsync)\n"
                                      "(setq mailsync-accounts\n\\(?:.\\|\n\\)*)\n"
                                      "(mailsync-mode 1)\n; end\n*\\'")
                              text))
      (should (string-search "from ~/.mbsyncrc line 19" text))
      (let ((accounts mailsync-accounts)
            (mailsync-accounts nil))
        (with-temp-buffer
          (insert text)
          (goto-char (point-min))
          (re-search-forward "^(setq")
          (goto-char (match-beginning 0))
          (eval (read (current-buffer)) t))
        (should (equal mailsync-accounts accounts))))))

(ert-deftest setup-test-kept-at-the-end ()
  "Where nothing turns mailsync on the form goes to the end of the file."
  (setup-test-keep "(setq x 1)"
    (funcall kept)
    (should (string-prefix-p "(setq x 1)\n(setq mailsync-accounts\n" (funcall text)))))

(ert-deftest setup-test-never-overwritten ()
  "What sets the accounts already is replaced only where the user says so."
  (pcase-dolist (`(,before ,answer ,after)
                 '(("(setq mailsync-accounts '((\"a\" :maildir \"/a\")))\n(x)\n" nil same)
                   ("(setq mailsync-accounts '((\"a\" :maildir \"/a\")))\n(x)\n" t
                    "\\`(setq mailsync-accounts\n\\(?:.\\|\n\\)*)\n(x)\n\\'")
                   ("(setq y 1\n mailsync-accounts nil)\n" t same)
                   ("(use-package mailsync :custom (mailsync-accounts '(1)))\n" t same)
                   ("(custom-set-variables '(mailsync-accounts '(1)))\n" t same)))
    (setup-test-keep before
      (cl-letf (((symbol-function 'yes-or-no-p) (lambda (&rest _) answer)))
        (if (eq after 'same)
            (should-error (funcall kept) :type 'user-error)
          (funcall kept)))
      (if (eq after 'same)
          (progn
            (should (equal (funcall text) before))
            (should-not mailsync-accounts))
        (should (string-match-p after (funcall text)))))))

(ert-deftest setup-test-mistakes ()
  "What is no form for accounts is not written, and the mistake is named."
  (pcase-dolist (`(,text . ,said)
                 '(("(setq mailsync-accounts '(" . "no whole form")
                   ("" . "no whole form")
                   ("(delete-file \"x\")" . "has to be")
                   ("(setq mailsync-accounts (list 1))" . "has to be")
                   ("(setq mailsync-accounts '())" . "no account")
                   ("(setq mailsync-accounts '(\"a\"))" . "name")
                   ("(setq mailsync-accounts '((\"a\" :maildir \"/a\" :x 1)))" . ":x")
                   ("(setq mailsync-accounts '((\"a\" :maildir \"/a\"))) (mailsync-mode\n 1)"
                    . "lost, since it is no part of the form: (mailsync-mode 1);")
                   ("(setq mailsync-accounts '((\"a\" :maildir \"/a\"))))\n;; x" . "form: ) ;; x;")))
    (with-temp-buffer
      (insert ";; comment (\n" text)
      (let ((err (should-error (mailsync-setup--form) :type 'user-error)))
        (should (string-search said (error-message-string err)))))))

(ert-deftest setup-test-more-than-the-form ()
  "What the user has written behind the form is not lost: nothing is written."
  (setup-test-keep "(mailsync-mode 1)"
    (setup-test-setup)
    (with-current-buffer mailsync-setup--buffer
      (goto-char (point-max))
      (insert "(setq mailsync-poll-period 60)\n(setq mailsync-notify-level 2)")
      (let ((err (should-error (mailsync-setup-keep file) :type 'user-error)))
        (should (string-search ": (setq mailsync-poll-period 60) (setq mailsync-notify-level 2);"
                               (error-message-string err))))
      (should (equal (funcall text) "(mailsync-mode 1)"))
      (should-not mailsync-accounts)
      (re-search-backward "^(setq mailsync-poll")
      ;; Comments behind it are as those that were there.
      (insert "; \"")
      (forward-line)
      (insert ";;")
      (mailsync-setup-keep file))
    (should (string-match-p ":maildir" (funcall text)))
    (should-not (string-search "poll" (funcall text)))))

(ert-deftest setup-test-file ()
  "The form is proposed for the file that turns mailsync on, else for Gnus's."
  (setup-test-with '(("init.el" . "(mailsync-mode 1)")) nil
    (should (equal (mailsync-setup--file)
                   (expand-file-name ".gnus.el" home)))
    (let ((user-init-file (expand-file-name "init.el" home)))
      (should (equal (mailsync-setup--file) user-init-file)))
    (write-region "" nil (expand-file-name ".gnus" home) nil 'silent)
    (should (equal (mailsync-setup--file) (expand-file-name ".gnus" home)))
    (let ((gnus-init-file "~/news"))
      (should (equal (mailsync-setup--file) (expand-file-name "news.el" home))))))

(provide 'mailsync-setup-test)
;;; mailsync-setup-test.el ends here
