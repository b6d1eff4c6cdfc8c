;;; mailsync-starts-test.el --- Started and stopped, in the middle of things  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; mailsync is stopped while changes are on their way, a sync goes on and a
;; server is being met, and started again, with a Gnus that reads the mail.
;; What Emacs holds is then what it held after the first few times.
;;
;; STARTS (environment) says how often, SEED when it is stopped: `make torture'.

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'mailsync-gnus-test-helper)

(load (mailsync-gnus-test--fixture "gnus-user") nil t)

(defconst starts-test--warm 10
  "After so many starts everything that is kept is there.")

(defun starts-test--resident ()
  "How much memory this Emacs has, in KiB."
  (with-temp-buffer
    (insert-file-contents "/proc/self/status")
    (re-search-forward "^VmRSS:[ \t]*\\([0-9]+\\)")
    (string-to-number (match-string 1))))

(defun starts-test--settled ()
  "What Emacs holds when all that mailsync has begun has ended."
  (test-wait (lambda () (not (test-threads))) 30)
  ;; What notes that a process was deleted is a timer.
  (test-wait-for 0.05)
  (garbage-collect)
  (test-holdings))

(defun starts-test--once (root whole act)
  "Start mailsync, have it begin something below ROOT, stop it.
If WHOLE is non-nil, wait until it watches, and a change is told.  ACT is
called when it was started."
  (setq test-changes nil)
  (mailsync-start)
  (mailsync-start)
  (when whole
    (test-watching "w")
    (funcall whole)
    (test-deliver root)
    (test-wait (lambda () (test-changed "INBOX" 'new))))
  (funcall act)
  (test-deliver root (gnus-user-random 5))
  (test-deliver (expand-file-name ".folder000" root) (gnus-user-random 5))
  (test-wait-for (gnus-user-pick '(0 0 0.002 0.01 0.03 0.06)))
  (mailsync-stop)
  (mailsync-stop))

(defun starts-test--many (what root whole act)
  "Start and stop often; print WHAT, and how much memory that took.
ROOT, WHOLE and ACT are as for `starts-test--once'."
  (let ((starts (mailsync-gnus-test--number-from "STARTS" 20))
        (seed (mailsync-gnus-test--number-from "SEED" 1))
        (began (float-time))
        before memory)
    (random (format "%s" seed))
    (dotimes (i starts)
      (starts-test--once root (and (zerop (% i 10)) whole) act)
      ;; Mail that nobody removes would be more to look at each time.
      (dolist (directory (list root (expand-file-name ".folder000" root)))
        (dolist (file (directory-files (expand-file-name "new" directory) t "\\.test"))
          (delete-file file)))
      (when (= i (1- starts-test--warm))
        (setq before (starts-test--settled)))
      ;; The log, and what its text has been through, grows for longer.
      (when (= i (1- (min starts 200)))
        (garbage-collect)
        (setq memory (starts-test--resident))))
    (let ((end (+ (float-time) 30)) now)
      ;; Emacs has timers of its own, which end.
      (while (not (cl-every #'<= (setq now (starts-test--settled)) before))
        (when (> (float-time) end)
          (ert-fail (list 'held before 'now now
                          'buffers (mapcar #'buffer-name (buffer-list))
                          'timers (mapcar #'timer--function timer-list))))
        (test-wait-for 0.5)))
    (princ (format "%s: %d starts, seed %d, in %.0f s; held %S; %d KiB, then %d KiB\n"
                   what starts seed (- (float-time) began) before memory
                   (starts-test--resident))
           #'external-debugging-output)
    (when (> starts 500)
      (should (< (- (starts-test--resident) memory) 4096)))))

(defmacro starts-test--with (backends &rest body)
  "Run BODY with a Gnus that has BACKENDS, on the maildir `root'.
There `program' is a syncer that takes its time."
  (declare (indent 1))
  `(mailsync-gnus-test--with ,backends '("folder000" "folder001" "INBOX")
     (let* ((root (mailsync-gnus-test--directory "INBOX"))
            (program (sync-test-script mailsync-gnus-test--dir "exec sleep 5"))
            (test-changes nil)
            (mailsync-coalesce-delay 0.02)
            (mailsync-base-delay 0)
            (mailsync-inter-delay 0.1)
            (mailsync-changed-functions (list #'test-note-changes)))
       (unwind-protect (progn ,@body)
         (mailsync-mode -1)
         (test-wait (lambda () (zerop (mailsync-module--threads))))))))

(ert-deftest starts-test-maildir ()
  "With a maildir and a syncer, without a server."
  (skip-unless (file-directory-p "/proc/self/fdinfo"))
  (starts-test--with '(nnmaildir)
    (let ((mailsync-accounts
           `(("w" :maildir ,root :syncer (mailsync-command ,program "%f")))))
      (starts-test--many
       "a maildir" root
       (lambda () (test-wait (lambda () (eq (sync-test-phase) 'running))))
       (lambda () (mailsync-sync "w"))))))

(ert-deftest starts-test-server ()
  "With a server that is watched besides, and that Gnus reads."
  (skip-unless (file-directory-p "/proc/self/fdinfo"))
  (starts-test--with '(nnimap nnmaildir)
    (let ((mailsync-accounts
           `(("w" :maildir ,root
              :syncer (mailsync-command ,program "%f")
              :remote (imap :host "127.0.0.1" :port ,mailsync-gnus-test--imap-port
                            :user "user" :tls none)))))
      (starts-test--many
       "a maildir and a server" root
       (lambda ()
         (test-wait (lambda ()
                      (eq (plist-get (cdar mailsync-remote--states) :state)
                          'connected))))
       (lambda () (mailsync-sync "w"))))))

(provide 'mailsync-starts-test)
;;; mailsync-starts-test.el ends here
