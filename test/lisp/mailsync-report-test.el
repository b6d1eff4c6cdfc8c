;;; mailsync-report-test.el --- The log, what is copied of it, mode line and menu  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Levels in the log; that a report has all that helps and no name and no
;; secret; the styles of the mode line; the menu and the keymap.

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'mailsync-report)

;;;; The log

(defmacro report-test-with-log (&rest body)
  "Run BODY with an empty log that keeps everything."
  `(let ((mailsync-log-level 'debug))
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (unwind-protect
         (progn ,@body)
       (kill-buffer mailsync-log--buffer))))

(defun report-test-visible ()
  "What one sees of the log, without times."
  (with-current-buffer mailsync-log--buffer
    (goto-char (point-min))
    (let (lines)
      (while (not (eobp))
        (unless (invisible-p (point))
          (push (buffer-substring-no-properties
                 (min (line-end-position) (+ 20 (point))) (line-end-position))
                lines))
        (forward-line))
      (nreverse lines))))

(ert-deftest report-test-levels ()
  "Each line says its level in a word; what is of less importance can be hidden."
  (report-test-with-log
   (dolist (level '(debug info warning error))
     (mailsync-log-add level "about %s" level))
   (mailsync-log-add 'warning "two\nlines")
   (with-current-buffer mailsync-log--buffer
     (goto-char (point-min))
     (dolist (level '(debug info warning error))
       (re-search-forward (format " %s " level))
       (should (eq (get-text-property (1+ (match-beginning 0)) 'face)
                   (intern (format "mailsync-log-%s" level))))))
   (pcase-dolist (`(,level . ,lines)
                  '((debug "debug   about debug" "info    about info"
                           "warning about warning" "error   about error"
                           "warning two" "")
                    (warning "warning about warning" "error   about error"
                             "warning two" "")
                    (error "error   about error")))
     (mailsync-log-show level)
     (should (equal (report-test-visible) lines)))
   ;; What comes later is hidden, too.
   (mailsync-log-add 'info "later")
   (should (equal (report-test-visible) '("error   about error")))
   (mailsync-log-show 'debug)
   (should (member "info    later" (report-test-visible)))))

;;;; Reports

(defun report-test-clean (text &optional names)
  "TEXT without names; NAMES are noted, an alist from kinds to lists."
  (let ((mailsync-report--names (make-hash-table :test #'equal))
        (mailsync-report--counts nil))
    (pcase-dolist (`(,kind . ,list) names)
      (mailsync-report--note kind list))
    (mailsync-report--without-secrets (mailsync-report--without-names text))))

(ert-deftest report-test-names ()
  "Each name is replaced by the same wherever it occurs, and nothing else is."
  (pcase-dolist
      (`(,text ,expected)
       '(("\"work\": synced lists/emacs, work/lists and INBOX"
          "\"account-1\": synced folder-1, account-1/lists and INBOX")
         ("workshop is no account, work is; network neither"
          "workshop is no account, account-1 is; network neither")
         ("work work,work" "account-1 account-1,account-1")
         ("mail from Me <me@home.example.org> by imap.example.org (10.0.0.1)"
          "mail from Me <address-1> by host-1 (host-2)")
         ("cannot read /home/me/Mail/a b" "cannot read directory-1 b")
         ("cannot read ~/Mail: no" "cannot read directory-1: no")
         ("/a/b, /c, /a/b" "directory-1, directory-2, directory-1")
         ("nnimap+work:lists.emacs: checked" "group-1: checked")
         ("nnmaildir+x:INBOX, nnmaildir+y:INBOX" "group-1, group-2")
         ("the server says \"no such user joe\"" "the server says \"text-1\"")
         ("see mailsync-gnus.el and core.rs" "see mailsync-gnus.el and core.rs")
         ("10:01:02, 1/2 done, 0.3 s, e.g. this"
          "10:01:02, 1/2 done, 0.3 s, e.g. this")
         ("Entwürfe/ä wait" "folder-2 wait")))
    (should (equal (report-test-clean text '(("account" "work")
                                             ("folder" "lists/emacs" "Entwürfe/ä")))
                   expected))))

;; Security: S52.
(ert-deftest report-test-secrets ()
  "What follows a word like password is in no report."
  (pcase-dolist (`(,text ,expected)
                 '(("password=hunter2 rest" "password=[left out] rest")
                   ("Passwd: hunter2" "Passwd: [left out]")
                   ("{\"token\": \"x1\"}" "{\"token\": [left out]")
                   ("the password program fails" "the password program fails")))
    (should (equal (mailsync-report--without-secrets text) expected))))

(ert-deftest report-test-options ()
  "An option is there if it is not as by default; code and secrets are not."
  (let* ((mailsync-base-delay 7)
         (mailsync-accounts
          '(("w" :maildir "~/m"
             :syncer (mailsync-command "sync" "hunter2" :environment ("P=hunter3"))
             :gnus-groups (lambda (_) '("g"))
             :remote (imap :host "h.example.org" :port 993
                           :secret-command ("/usr/bin/pass" "show" "hunter4")
                           :oauth-command "gettoken hunter5"
                           :tunnel ("ssh" "hunter6" "dovecot")))))
         (text (mailsync-report--options nil)))
    (should (string-match-p "^mailsync-base-delay: 7$" text))
    (should-not (string-match-p "mailsync-max-delay" text))
    (should (string-match-p ":gnus-groups a-function" text))
    (should (string-match-p ":secret-command (\"pass\" …)" text))
    (should (string-match-p ":oauth-command (\"gettoken\" …)" text))
    (should (string-match-p ":tunnel (\"ssh\" …)" text))
    (should (string-match-p ":port 993" text))
    (dolist (secret '("hunter3" "hunter4" "hunter5" "hunter6"))
      (should-not (string-search secret text))
      (should-not (string-search secret (mailsync-report--options t))))))

;; Security: S52.
(ert-deftest report-test-whole ()
  "A report of a running mailsync has all that helps, and no name of the user's."
  (sync-test-with "echo 'hunter2 is wrong' >&2; exit 3"
      `(mailsync-command ,program "-q" "privatechannel" "--pass=hunter3" "%f")
    (test-maildir (expand-file-name ".secretclub" mail))
    (setq mailsync-accounts
          (append mailsync-accounts
                  `(("jane" :maildir ,(test-maildir (expand-file-name "jane" root))
                     :remote (watcher "sleep" "1000" "jane.example.org")))))
    (mailsync-restart)
    (test-watching "w" "jane")
    (let ((mailsync-log-level 'debug))
      (test-deliver (expand-file-name ".secretclub" mail))
      (sync-test-wait 1)
      (test-wait (lambda () (eq (sync-test-phase) 'failing)))
      (let ((anonymous (mailsync-report-text))
            (plain (mailsync-report-text t)))
        (dolist (text (list anonymous plain))
          (should (string-match-p "\\`mailsync 0\\.1\\.0, module 0\\.1\\.0\n" text))
          (should (string-search (format "Emacs %s (" emacs-version) text))
          (should (string-match-p "^Gnus is not loaded$" text))
          (should (string-match-p "^mailsync-coalesce-delay: 0\\.02$" text))
          (should (string-match-p "cannot be synced, and is tried again" text))
          (should (string-match-p "warning .*failed (transient)" text)))
        (should (string-match-p "^account-1: watching" anonymous))
        (should (string-match-p "^  server, by sleep \\.\\.\\.: " anonymous))
        (should (string-match-p "^    folder-[0-9]+: new" anonymous))
        (dolist (name (list root mail "secretclub" "jane" "example" "privatechannel"
                            "hunter3" (abbreviate-file-name root)))
          (ert-info (name)
            (should-not (string-search name anonymous))))
        (should (string-match-p "^jane: watching" plain))
        (should (string-match-p "^    secretclub: new" plain))
        ;; The command goes by the kill ring.
        (mailsync-log-copy)
        (should (string-match-p "^account-1: watching" (current-kill 0)))
        (should (string-match-p "without the names" (car sync-test-said)))
        (mailsync-log-copy t)
        (should (string-match-p "^jane: watching" (current-kill 0))))))
  ;; And of one that is off.
  (should (string-match-p "mailsync is off" (mailsync-report-text))))

;;;; Mode line, menu, keymap

(defun report-test-mode-line ()
  "The state as the mode line shows it: (TEXT FACE)."
  (let ((text (mailsync-mode-line--state)))
    (list (substring-no-properties text) (get-text-property 0 'face text))))

(ert-deftest report-test-mode-line-styles ()
  "Words, or a sign for each state, none of which stands for two."
  (let ((mailsync-mode-line-format "[%s]")
        (mailsync-accounts--faults nil)
        (mailsync--checking nil)
        (mailsync-remote--states nil)
        (mailsync--unchecked (make-hash-table :test #'equal))
        (case (lambda (states &optional syncs)
                (let ((mailsync--states states)
                      (mailsync-sync--states syncs))
                  (cl-letf (((symbol-function 'char-displayable-p) #'always))
                    (append (report-test-mode-line)
                            (let ((mailsync-mode-line-style 'unicode))
                              (list (car (report-test-mode-line)))))))))
        (sync (lambda (phase &optional pending progress text)
                `(("w" :phase ,phase :pending ,(or pending 0)
                   :progress ,(or progress 0) :text ,(or text ""))))))
    (pcase-dolist
        (`(,states ,syncs . ,expected)
         `((((w watching . "")) nil "[watching]" mailsync-well "[✓]")
           (((w starting . "")) nil "[starting]" mailsync-busy "[…]")
           (((w waiting . "")) nil "[waiting]" mailsync-trouble "[…]")
           (((w error . "")) nil "[error]" mailsync-trouble "[✗]")
           (((w watching . "")) ,(funcall sync 'running)
            "[syncing]" mailsync-busy "[⇅]")
           (((w watching . "")) ,(funcall sync 'running 0 12)
            "[syncing 12]" mailsync-busy "[⇅12]")
           (((w watching . "")) ,(funcall sync 'pending 3)
            "[3 to sync]" mailsync-pending "[⇡3]")
           (((w watching . "")) ,(funcall sync 'failing)
            "[failing]" mailsync-trouble "[↯]")
           (((w watching . "")) ,(funcall sync 'paused)
            "[paused]" mailsync-resting "[‖]")
           (((w watching . "")) ,(funcall sync 'paused 0 0 "no login")
            "[paused]" mailsync-trouble "[‖]")
           (((w watching . "")) ,(funcall sync 'elsewhere)
            "[synced elsewhere]" mailsync-resting "[≈]")))
      (should (equal (funcall case states syncs) expected)))
    (puthash '("w" . "/m/a") 1 mailsync--unchecked)
    (should (equal (funcall case '((w watching . "")))
                   '("[1 pending]" mailsync-pending "[⟳1]")))
    ;; A terminal that cannot show it gets the words, and the mouse always does.
    (let ((mailsync-mode-line-style 'unicode)
          (mailsync--states '((w watching . ""))) (mailsync-sync--states nil))
      (cl-letf (((symbol-function 'char-displayable-p) #'ignore))
        (should (equal (car (report-test-mode-line)) "[1 pending]")))
      (cl-letf (((symbol-function 'char-displayable-p) #'always))
        (should (string-match-p "\\`mailsync: 1 pending\n"
                                (funcall (get-text-property
                                          0 'help-echo
                                          (mailsync-mode-line--state)))))))))

(ert-deftest report-test-mode-line-drawn ()
  "A check that is over soon has the mode line drawn once, a longer one at its time."
  (let* ((mailsync-mode t)
         (mailsync-mode-line--string nil)
         (mailsync-mode-line--drawn t)
         (mailsync-mode-line--timer nil)
         (mailsync-mode-line-format "[%s]")
         (mailsync-accounts--faults nil)
         (mailsync--checking nil)
         (mailsync-remote--states nil)
         (mailsync-sync--states nil)
         (mailsync--states '(("w" watching . "")))
         (mailsync--unchecked (make-hash-table :test #'equal))
         (drawn 0)
         (update (lambda (text)
                   (mailsync-mode-line-update)
                   (should (string-match-p text (mailsync-mode-line--draw)))
                   (list drawn (and (mailsync--armed-p mailsync-mode-line--timer)
                                    t)))))
    (cl-letf* ((draw (symbol-function 'mailsync-mode-line--redraw))
               ((symbol-function 'mailsync-mode-line--redraw)
                (lambda () (cl-incf drawn) (funcall draw))))
      (should (equal (funcall update "watching") '(1 nil)))
      (should (equal (funcall update "watching") '(1 nil)))
      ;; What waits is known at once, and drawn later.
      (puthash '("w" . "/m/a") 1 mailsync--unchecked)
      (should (equal (funcall update "1 pending") '(1 t)))
      (setq mailsync--checking t)
      (should (equal (funcall update "checking") '(1 t)))
      (setq mailsync--checking nil)
      (clrhash mailsync--unchecked)
      (should (equal (funcall update "watching") '(2 nil)))
      ;; It takes longer.
      (puthash '("w" . "/m/a") 1 mailsync--unchecked)
      (should (equal (funcall update "1 pending") '(2 t)))
      (timer-event-handler mailsync-mode-line--timer)
      (should (equal (funcall update "1 pending") '(3 nil)))
      (puthash '("w" . "/m/b") 1 mailsync--unchecked)
      (should (equal (funcall update "2 pending") '(3 t)))
      ;; A quit ended the timer when it began.
      (setf (timer--triggered mailsync-mode-line--timer) t)
      (cancel-timer mailsync-mode-line--timer)
      (should (equal (funcall update "2 pending") '(3 t)))
      ;; That it is off is shown at once.
      (setq mailsync-mode nil)
      (mailsync-mode-line-update)
      (should-not mailsync-mode-line--string)
      (should (= drawn 4))
      (should-not mailsync-mode-line--timer))))

(defun report-test-commands (menu)
  "The commands in MENU, a keymap."
  (let (commands)
    (map-keymap (lambda (_ item)
                  (let ((command (nth 2 item)))
                    (when (and (consp item) (symbolp command) command)
                      (push command commands))))
                menu)
    commands))

(ert-deftest report-test-menu-and-keymap ()
  "What they name is there, but for what other files may bring."
  (let ((others '(mailsync-doctor mailsync-setup)) (count 0))
    (dolist (command (report-test-commands mailsync-menu))
      (setq count (1+ count))
      (should (or (commandp command) (memq command others)
                  ;; A form, which the menu made a command of.
                  (string-prefix-p "menu-function" (symbol-name command)))))
    (should (> count 10))
    (map-keymap (lambda (_ command)
                  (should (or (commandp command) (memq command others))))
                mailsync-command-map)
    (should (keymapp 'mailsync-command-map))
    (should-not (where-is-internal 'mailsync-sync (list global-map)))
    (should (eq (lookup-key mailsync-mode-line-map [mode-line mouse-3])
                #'mailsync-menu-popup))))

(ert-deftest report-test-keymap-autoloads ()
  "The keymap can be bound before anything is loaded."
  (with-temp-buffer
    (should (zerop (test-emacs
                    "--eval" "(autoload 'mailsync-command-map \"mailsync-menu\" nil nil 'keymap)"
                    "--eval" "(global-set-key (kbd \"C-c m\") 'mailsync-command-map)"
                    "--eval" "(princ (key-binding (kbd \"C-c m s\")))")))
    (should (string-match-p "mailsync-sync" (buffer-string)))))

(provide 'mailsync-report-test)
;;; mailsync-report-test.el ends here
