;;; mailsync-status-test.el --- What the user is shown of syncs  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What the echo area says of a sync that was asked for, and the buffer that
;; `mailsync-status' shows.

;;; Code:

(require 'mailsync-sync-test-helper)

;;;; The echo area

(defun status-test-told (regexp)
  "How often REGEXP was said to the user."
  (seq-count (lambda (said) (string-match-p regexp said)) sync-test-said))

(defun status-test-wish (&rest args)
  "Wish a sync as a user does, with ARGS, and wait until all is said of it."
  (let ((count (length (sync-test-results))))
    (apply #'funcall-interactively #'mailsync-sync (append args '(t)))
    (sync-test-wait (1+ count))
    (test-wait-for 0.6)))

(ert-deftest status-test-a-wish-says-how-it-went ()
  "One line, and none of a sync that nobody asked for."
  (sync-test-with "test -e bad || exit 0; echo The server is gone >&2; exit 3"
      `(mailsync-command ,program "%f")
    (let ((file (lambda (name) (expand-file-name name root))))
      (mailsync-sync "w" '("a"))
      (sync-test-wait 1)
      (test-wait-for 0.6)
      (should-not sync-test-said)
      (cl-letf (((symbol-function 'completing-read)
                 (lambda (&rest _) "b c")))
        (call-interactively #'mailsync-sync))
      (sync-test-wait 2)
      (test-wait-for 0.6)
      (should (equal sync-test-said '("mailsync: \"w\": synced b c")))
      (let ((current-prefix-arg '(4)))
        (call-interactively #'mailsync-sync))
      (sync-test-wait 3)
      (test-wait-for 0.6)
      (should (equal (car sync-test-said) "mailsync: \"w\": synced everything"))
      (write-region "" nil (funcall file "bad") nil 'silent)
      ;; Its new state says that already, and then only the wish does.
      (setq sync-test-said nil)
      (status-test-wish "w" '("a"))
      (should (= 1 (length sync-test-said)))
      (should (= 1 (status-test-told "cannot be synced.*The server is gone")))
      (status-test-wish "w" '("a"))
      (should (= 2 (length sync-test-said)))
      (should (= 1 (status-test-told
                    "\"w\": not synced (transient): .*The server is gone")))
      (delete-file (funcall file "bad"))
      (setq sync-test-said nil)
      (status-test-wish "w" '("a"))
      (should (equal sync-test-said '("mailsync: \"w\" can be synced again"))))))

(ert-deftest status-test-a-partial-result-in-one-line ()
  (should (equal (mailsync-sync--result
                  "w" '(:status partial :text "b is locked\nand so on"))
                 "\"w\": synced, but for some: b is locked"))
  (should (equal (mailsync-sync--result "w" '(:status locked :text ""))
                 "\"w\": not synced (locked)")))

(defmacro status-test-with-records (&rest body)
  "Run BODY with an account \"w\" of which no engine tells anything.
There `state' and `result' are functions that take in a record."
  (declare (indent 0))
  `(let* ((mailsync--said nil)
          (mailsync-sync--told-times (make-hash-table :test #'equal))
          (mailsync-sync--results (make-hash-table :test #'equal))
          (mailsync-sync--states (list (list "w" :phase 'idle :text "")))
          (hooked nil)
          (mailsync-state-change-functions
           (list (lambda (_ state) (push state hooked))))
          (sync-test-said nil)
          (said (symbol-function 'message)))
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (cl-letf (((symbol-function 'message)
                (lambda (format &rest args)
                  (when format
                    (push (apply #'format format args) sync-test-said))
                  (apply said format args))))
       (cl-flet ((state (phase text &optional paused)
                   (mailsync-sync-notice
                    (list "sync" "w" phase (or paused "") "1" "0" text)))
                 (result (status text)
                   (mailsync-sync-notice
                    (list "synced" "w" "1" status "1" "0" "0.1" "" text
                          "" "0" "" "1" "1" "a"))))
         ,@body))))

(ert-deftest status-test-a-lasting-failure-is-said-once ()
  "Once for each status, in whatever order state and result come."
  (status-test-with-records
    (dotimes (_ 3)
      (state "running" "")
      (result "transient" "no network")
      (state "failing" "no network"))
    (should (= 1 (length sync-test-said)))
    (should (= 1 (status-test-told "tried again: no network")))
    ;; The state was there first.
    (dotimes (_ 2)
      (state "failing" "no program")
      (state "failing" "no program")
      (result "config" "no program"))
    (should (= 2 (length sync-test-said)))
    (should (= 1 (status-test-told "tried again: no program")))
    (result "transient" "no server")
    (state "failing" "no server")
    ;; The machine woke up: it is tried at once.
    (state "pending" "no server")
    (state "running" "")
    (result "transient" "no server")
    (state "failing" "no server")
    (should (= 2 (length sync-test-said)))
    (should (equal hooked '(failing)))
    ;; Other folders wait already when it is well again.
    (result "ok" "")
    (state "pending" "")
    (should (equal (car sync-test-said) "mailsync: \"w\" can be synced again"))
    (should (equal hooked '(watching failing)))
    (result "transient" "no network")
    (state "failing" "no network")
    (should (= 2 (status-test-told "tried again: no network")))
    (result "partial" "b is locked")
    (state "idle" "b is locked")
    (should (equal (car sync-test-said)
                   "mailsync: \"w\" can be synced again, but for some: b is locked"))))

(ert-deftest status-test-what-failed-alone-is-said-once ()
  "It is new again when nothing is left alone any more."
  (status-test-with-records
    (result "partial" "b is locked")
    (state "idle" "b is locked")
    (result "ok" "")
    (state "idle" "b is locked")
    (result "partial" "b is locked")
    (state "idle" "b is locked")
    (should (equal sync-test-said
                   '("mailsync: \"w\": synced, but for some: b is locked")))
    (should (= 1 (sync-test-logged "but for some, in 0.1 s")))
    (result "ok" "")
    (state "idle" "")
    (result "partial" "b is locked")
    (should (= 2 (length sync-test-said)))))

(ert-deftest status-test-mode-line-format ()
  "What is no format is said once, and stops nothing."
  (let ((mailsync-mode t) (mailsync-mode-line--string "") (mailsync--said nil) (sync-test-said nil)
        (mailsync-mode-line-format 42))
    (status-test-with-records
      (dotimes (_ 2)
        (mailsync-status-update))
      (should-not mailsync-mode-line--string)
      (should (= 1 (status-test-told "mailsync-mode-line-format. is 42"))))))

(ert-deftest status-test-mode-line-drawn ()
  "Mode lines are drawn anew where one shows what is old by now, and only there."
  (let ((mailsync-mode t) (mailsync-mode-line--string nil) (mailsync-mode-line--drawn t)
        (mailsync-accounts--faults nil) (mailsync-sync--states nil)
        (drawn 0))
    (cl-letf (((symbol-function 'force-mode-line-update) (lambda (&rest _) (cl-incf drawn))))
      (pcase-dolist (`(,state ,shown ,expected)
                     ;; One may show what was there before this was loaded.
                     '((starting nil 1) (watching nil 1) (waiting t 1) (watching nil 2)
                       (watching t 2) (watching nil 2) (waiting nil 3) (starting nil 3)))
        (let ((mailsync--states `(("w" ,state . ""))))
          (mailsync-mode-line-update)
          (should (= drawn expected))
          (should (string-search (symbol-name state) mailsync-mode-line--string)))
        (when shown
          (should (eq (eval (cadr mailsync-mode-line) t) mailsync-mode-line--string)))))))

(ert-deftest status-test-paused ()
  "What waits for the user comes first in the mode line, and says what to do."
  (status-test-with-records
    (let ((mailsync--states '(("w" watching . "") ("v" watching . ""))))
      (push (list "v" :phase 'running :progress 0 :pending 0 :text "")
            mailsync-sync--states)
      (state "paused" "" "t")
      (should (equal (mailsync-mode-line--summary) '("syncing")))
      (should (equal (mailsync-mode-line--sync-words "w")
                     "; paused until M-x mailsync-resume"))
      (dotimes (_ 2)
        (state "paused" "no login" "t"))
      (should (equal (mailsync-mode-line--summary) '("paused" . t)))
      (plist-put (cdar mailsync-sync--states) :phase 'failing)
      (should (equal (mailsync-mode-line--summary) '("paused" . t)))
      (should (equal (mailsync-mode-line--sync-words "w")
                     "; paused until you mend this, and M-x mailsync-resume: no login"))
      (should (= 1 (status-test-told "\"w\" is paused: no login; mend it")))
      (should (= 1 (length sync-test-said))))))

(ert-deftest status-test-synced-elsewhere ()
  "Another Emacs is no trouble; what one has left behind may be."
  (status-test-with-records
    (let ((mailsync-mode t)
          (mailsync--states '(("w" watching . "")))
          (line "synced by pid 7; this Emacs syncs when that has ended")
          (left "synced by pid 7, which is left; end it (kill -9 -- -7)"))
      (dotimes (_ 2)
        (state "elsewhere" "synced by pid 7"))
      (should-not sync-test-said)
      (should (= 1 (sync-test-logged (concat "w: " line))))
      (should (equal (mailsync-mode-line--summary) '("synced elsewhere")))
      (should (equal (mailsync-mode-line--sync-words "w") (concat "; " line)))
      (with-temp-buffer
        (mailsync-status--sync "w" nil)
        (should (equal (buffer-string) (format "  syncs: %s\n" line))))
      (cl-letf (((symbol-function 'mailsync-module--sync) #'ignore))
        (mailsync-sync "w"))
      (should (equal sync-test-said (list (format "mailsync: \"w\" is %s" line))))
      (setq sync-test-said nil)
      (dotimes (_ 2)
        (state "elsewhere" left))
      (should (equal sync-test-said
                     (list (format "mailsync: \"w\" is %s; this Emacs syncs \
when that has ended" left))))
      (state "elsewhere" (format "synced by pid %d" (emacs-pid)))
      (should (string-match-p "waiting for the end of the sync that was stopped"
                              (mailsync-mode-line--sync-words "w")))
      (state "idle" "")
      (state "elsewhere" left)
      (should (= 2 (length sync-test-said)))
      (should-not hooked))))

;;;; The buffer

(ert-deftest status-test-times ()
  "Times are those of the clock, with a date that is not today's."
  (should (equal (mailsync-log-time nil) (format-time-string "at %T")))
  (let ((time (encode-time '(5 4 3 2 1 2020 nil -1 nil))))
    (should (equal (mailsync-log-time time) "on 2020-01-02 at 03:04")))
  (status-test-with-records
    (result "transient" "no network")
    (state "failing" "no network")
    (with-temp-buffer
      (mailsync-status--sync "w" '(:last-ok 200000.5 :next 200000.0))
      (should (string-match-p
               (concat "\\`  syncs: cannot be synced, and is tried again "
                       "on [-0-9]+ at [0-9]+:[0-9]+, "
                       "last success on [-0-9]+ at [0-9]+:[0-9]+\n"
                       "    no network\n"
                       "    last run on 1970-01-01 at [0-9:]+: transient, 0.1 s\n")
               (buffer-string))))
    (result "ok" "")
    (state "idle" "")
    (pcase-dolist (`(,unpushed . ,words)
                   '((nil . "nothing to sync\n")
                     (0 . "nothing to sync, all pushed\n")
                     (1 . "nothing to sync, 1 folder to push\n")
                     (2 . "nothing to sync, 2 folders to push\n")))
      (with-temp-buffer
        (mailsync-status--sync "w" `(:unpushed ,unpushed))
        (should (equal (buffer-string) (concat "  syncs: " words)))))
    (with-temp-buffer
      (mailsync-status--sync "w" '(:last-ok 0.0 :next 200000.0))
      (should (string-match-p
               (concat "\\`  syncs: nothing to sync, last success at [0-9:]+, "
                       "next sync on [-0-9]+ at [0-9]+:[0-9]+\n\\'")
               (buffer-string))))))

(defun status-test-line ()
  "The line at point in the buffer that shows the status."
  (with-current-buffer mailsync-status--buffer
    (buffer-substring-no-properties (line-beginning-position)
                                    (line-end-position))))

(ert-deftest status-test-opens-at-the-first-account ()
  "Its keys work at once; elsewhere they take the only account, or ask."
  (sync-test-with "echo hello" `(mailsync-command ,program)
    (save-window-excursion
      (when (get-buffer mailsync-status--buffer)
        (kill-buffer mailsync-status--buffer))
      (let (asked)
        (cl-letf (((symbol-function 'completing-read)
                   (lambda (prompt accounts &rest _)
                     (push (cons prompt accounts) asked)
                     "w")))
          (mailsync-status)
          (should (string-prefix-p "w: watching" (status-test-line)))
          (funcall (lookup-key mailsync-status-mode-map "s"))
          (sync-test-wait 1)
          (goto-char (point-min))
          (funcall (lookup-key mailsync-status-mode-map "s"))
          (sync-test-wait 2)
          (should-not asked)
          (setq mailsync-accounts
                (append mailsync-accounts
                        `(("v" :maildir ,(concat mail "/.a")
                           :syncer (mailsync-command ,program)))))
          (mailsync-restart)
          (goto-char (point-max))
          (dolist (key '("s" "p" "o"))
            (funcall (lookup-key mailsync-status-mode-map key)))
          (sync-test-wait 3)
          (should (= (length asked) 3))
          (should (equal (cdar asked) '("w" "v")))
          (should (plist-get (mailsync-sync-state "w") :paused)))
        (should (equal (caar asked) "Output of account (default w): "))
        (should (string-match-p "p pauses" (buffer-string)))
        (mailsync-stop)
        (mailsync-status)
        (should-not (string-match-p "p pauses" (buffer-string)))
        (goto-char (point-min))
        (should-error (mailsync-status-sync) :type 'user-error)))))

(ert-deftest status-test-what-a-syncer-printed ()
  "It is shown with a note if the last sync printed nothing; else why there is none."
  (sync-test-with "test ! -e bad || { echo Oh dear; exit 1; }"
      `(mailsync-command ,program)
    (let ((bad (expand-file-name "bad" root))
          (told (lambda (regexp)
                  (setq sync-test-said nil)
                  (mailsync-output "w")
                  (string-match-p regexp (car sync-test-said))))
          (buffer (mailsync-sync--output-name "w")))
      (when (get-buffer buffer)
        (kill-buffer buffer))
      (save-window-excursion
        (should (funcall told "\"w\" has not been synced"))
        (mailsync-sync "w")
        (sync-test-wait 1)
        (test-wait (lambda () (eq (sync-test-phase) 'idle)))
        (should (funcall told "last sync of \"w\", which began at .* printed nothing"))
        (should-not (get-buffer buffer))
        (write-region "" nil bad nil 'silent)
        (mailsync-sync "w")
        (sync-test-wait 2)
        (setq sync-test-said nil)
        (mailsync-output "w")
        (with-current-buffer buffer
          (should (string-match-p "\\`[-0-9: ]+, w: transient, exit code 1\n.*\n\nOh dear"
                                  (buffer-string))))
        (delete-file bad)
        (mailsync-sync "w")
        (sync-test-wait 3)
        (with-current-buffer buffer
          (let ((old (buffer-string)))
            (dotimes (_ 2)
              (revert-buffer))
            (should (equal (buffer-string)
                           (concat (format "The last sync began %s, went well, \
and printed nothing.  Before:\n\n"
                                           (mailsync-log-time
                                            (plist-get (sync-test-wait 3) :started)))
                                   old)))))
        (mailsync-stop)
        (mailsync-output "w")
        (kill-buffer buffer)
        (should-error (mailsync-output "w") :type 'user-error)))))

(ert-deftest status-test-follows ()
  "It follows what happens while it is shown, and point stays at its line."
  (sync-test-with "sleep 1000" `(mailsync-command ,program)
    (let ((others (mapcar (lambda (name)
                            (list name :maildir (test-maildir
                                                 (expand-file-name name root))))
                          '("u" "v")))
          (filled 0)
          (text (lambda ()
                  (with-current-buffer mailsync-status--buffer
                    (buffer-string)))))
      (setq mailsync-accounts (cons (car others) mailsync-accounts))
      (mailsync-restart)
      (test-watching "u" "w")
      (save-window-excursion
        (mailsync-status)
        (re-search-forward "^w: wat")
        (let ((other (split-window)))
          (set-window-buffer other (get-buffer-create "*scratch*"))
          (select-window other))
        (cl-letf* ((fill (symbol-function 'mailsync-status--fill))
                   ((symbol-function 'mailsync-status--fill)
                    (lambda ()
                      (setq filled (1+ filled))
                      (funcall fill))))
          ;; An account that comes before it gets more lines, another one goes.
          (setq mailsync-accounts
                (cons (append (car others) '(:syncer (mailsync-command "no-such")))
                      (cons (cadr others) (cdr mailsync-accounts))))
          (mailsync-restart)
          (mailsync-sync "w")
          (dotimes (_ 50)
            (mailsync-status-update)
            (accept-process-output nil 0.01))
          (test-wait (lambda () (string-match-p "is being synced" (funcall text))))
          (test-wait (lambda () (string-match-p "^v: " (funcall text))))
          (should (equal (buffer-name (window-buffer)) "*scratch*"))
          (should (string-prefix-p "w: watching" (status-test-line)))
          (with-selected-window (get-buffer-window mailsync-status--buffer)
            (should (looking-back "^w: wat" (line-beginning-position))))
          (should (<= filled 6))
          ;; What nobody sees is not kept up to date.
          (delete-other-windows)
          (test-wait-for 1.2)
          (setq filled 0)
          (mailsync-pause)
          (test-wait (lambda ()
                       (plist-get (mailsync-sync-state "w") :paused)))
          (test-wait-for 1.2)
          (should (zerop filled)))))))

(ert-deftest status-test-places ()
  "Point, mark and windows stay, before, in and after the accounts."
  (let ((account (lambda (name lines)
                   (propertize (concat "\n" name ": x\n"
                                       (apply #'concat (make-list lines "  yy\n")))
                               'mailsync-account (copy-sequence name))))
        text)
    (cl-letf (((symbol-function 'mailsync-status--text) (lambda () text)))
      (with-temp-buffer
        (setq text (concat "head\n" (funcall account "a" 1) (funcall account "b" 2)
                           "\nGnus\n\nhelp\n"))
        (mailsync-status--fill)
        (should (= (point) (point-min)))
        (let ((old (mapcar (lambda (position)
                             (goto-char position)
                             (list (mailsync-status--place position)
                                   (get-text-property (point) 'mailsync-account)
                                   (buffer-substring (line-beginning-position)
                                                     (line-end-position))))
                           (number-sequence (point-min) (point-max)))))
          (goto-char (point-min))
          (search-forward "b: x\n  y")
          (push-mark (point-max) t)
          (setq text (concat "head\n" (funcall account "a" 4) (funcall account "c" 0)
                             (funcall account "b" 2) "\nGnus\n\nhelp\n"))
          (mailsync-status--fill)
          (should (looking-back "b: x\n  y" (point-min)))
          (should (= (mark t) (point-max)))
          (pcase-dolist (`(,place ,name ,line) old)
            (goto-char (mailsync-status--position place))
            (should (equal (get-text-property (point) 'mailsync-account) name))
            (should (equal (buffer-substring (line-beginning-position)
                                             (line-end-position))
                           line))))
        ;; An account that has fewer lines, and none.
        (search-backward "b: x")
        (forward-line 2)
        (setq text (concat "head\n" (funcall account "b" 0) "\nGnus\n"))
        (mailsync-status--fill)
        (should (equal (get-text-property (point) 'mailsync-account) "b"))
        (setq text "off\n")
        (mailsync-status--fill)
        (should (equal (buffer-string) "off\n"))))))

(ert-deftest status-test-mode-line-total ()
  "How much is unread comes after the state, and without it where that is not shown."
  (cl-letf (((symbol-function 'mailsync-gnus-total-text)
             (lambda () " Mail:12")))
    (let ((mailsync--states '(("w" watching)))
          (mailsync-accounts--faults nil)
          (mailsync-sync--states nil)
          (mailsync-mode-line-format " [%s]"))
      (should (equal (substring-no-properties (mailsync-mode-line--text))
                     " [watching] Mail:12"))
      (let ((mailsync-mode-line-format nil))
        (should (equal (mailsync-mode-line--text) " Mail:12"))
        (cl-letf (((symbol-function 'mailsync-gnus-total-text)
                   (lambda () "")))
          (should-not (mailsync-mode-line--text)))))))

(provide 'mailsync-status-test)
;;; mailsync-status-test.el ends here
