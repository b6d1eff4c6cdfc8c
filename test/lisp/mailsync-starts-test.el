;;; mailsync-starts-test.el --- Started and stopped, in the middle of things  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; mailsync is stopped while changes are on their way, a sync goes on and a
;; server is being met, and started again, with a Gnus that reads the mail.
;; What Emacs holds is then what it held after the first few times.
;;
;; STARTS (environment) says how often, SEED when it is stopped: `make torture'.
;; In more than 500 starts neither Lisp objects nor memory become more after the
;; first 200.  What is not mailsync's to keep small is kept out of that:
;; - Gnus's tables, which grow by each message that nnmaildir has ever seen and
;;   by each time that nnimap sees new mail, with mailsync or without;
;; - the log and the history, which are bounded, but not full after 200 starts;
;; - what a call of the module takes under `--module-assertions': Emacs never
;;   frees its environment then ("to guarantee unique addresses"), which is
;;   336 bytes a call and 5 KiB a start, and more where they lie among what was
;;   freed.  So memory counts only where Emacs runs without
;;   (MODULE_ASSERTIONS=no test/ert.sh ...).

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'mailsync-gnus-test-helper)

(load (mailsync-gnus-test--fixture "gnus-user") nil t)

(defconst starts-test--warm 10
  "After so many starts everything that is kept is there.")

(defconst starts-test--even 200
  "After so many starts there is as much memory as there will be.
Tables have their size, threads their stacks, and what is freed fits what is
wanted.")

(defconst starts-test--most 2048
  "So many KiB may be more in the end than after `starts-test--even' starts.")

(defconst starts-test--window 50
  "For so many starts objects are counted, before that moment and in the end.
What was just being done makes their number go up and down a little.")

(defun starts-test--resident ()
  "How much memory this Emacs has, in KiB."
  (with-temp-buffer
    (insert-file-contents "/proc/self/status")
    (re-search-forward "^VmRSS:[ \t]*\\([0-9]+\\)")
    (string-to-number (match-string 1))))

(defun starts-test--assertions-p ()
  "Non-nil if this Emacs runs under `--module-assertions'.
That is no longer in `command-line-args'."
  (with-temp-buffer
    (insert-file-contents-literally "/proc/self/cmdline")
    (search-forward "--module-assertions" nil t)))

(defun starts-test--settled ()
  "What Emacs holds when all that mailsync has begun has ended."
  (test-wait (lambda () (not (test-threads))) 30)
  ;; What notes that a process was deleted is a timer.
  (test-wait-for 0.05)
  (garbage-collect)
  (test-holdings))

(defun starts-test--objects ()
  "How many Lisp objects there are, an alist by kind."
  (starts-test--settled)
  (cl-loop for (kind _ used) in (garbage-collect)
           ;; The others are no objects, or strings and vectors once more.
           unless (memq kind '(string-bytes vector-slots heap))
           collect (cons kind used)))

(defun starts-test--more (then now)
  "How many more objects there are by NOW than THEN, an alist by kind.
Both are lists of what `starts-test--objects' returns.  The fewest now are
compared with the most then."
  (mapcar (lambda (kind)
            (cons kind (- (apply #'min (mapcar (apply-partially #'alist-get kind) now))
                          (apply #'max (mapcar (apply-partially #'alist-get kind) then)))))
          (mapcar #'car (car now))))

(defun starts-test--forget ()
  "Forget the last things that happened, of which mailsync keeps some."
  (setq mailsync-history--stories nil
        test-changes nil)
  (when (get-buffer mailsync-log--buffer)
    (with-current-buffer mailsync-log--buffer
      (let ((inhibit-read-only t))
        (erase-buffer)))))

(defun starts-test--remove-mail (root)
  "Remove what was delivered below ROOT, and have Gnus forget it.
Mail that nobody removes would be more to look at each time.  What others
remove nnmaildir keeps in its tables until somebody wants to read it, and
nnimap notes each time that there was new mail."
  (setq nnmail-split-history nil)
  (dolist (folder '("." ".folder000"))
    (dolist (part '("new" "cur"))
      (dolist (file (directory-files (expand-file-name (concat folder "/" part) root)
                                     t "\\.test"))
        (delete-file file))))
  (pcase-dolist (`(,_ . ,server) nnmaildir--servers)
    (maphash (lambda (_ group)
               (pcase-dolist (`(,_ . ,article)
                              (copy-sequence (nnmaildir--grp-nlist group)))
                 (when (string-suffix-p ".test" (nnmaildir--art-prefix article))
                   (nnmaildir--expired-article group article))))
             (nnmaildir--srv-groups server))))

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
        before memory then now)
    (random (format "%s" seed))
    (dotimes (i starts)
      (starts-test--once root (and (zerop (% i 10)) whole) act)
      (starts-test--remove-mail root)
      (when (= i (1- starts-test--warm))
        (setq before (starts-test--settled)))
      (when (> starts 500)
        (starts-test--forget)
        (when (zerop (% (1+ i) 10))
          ;; Else the garbage of more starts than before would be memory, too.
          (garbage-collect)
          (cond ((< (- starts-test--even starts-test--window) (1+ i) starts-test--even)
                 (push (starts-test--objects) then))
                ((= (1+ i) starts-test--even)
                 (push (starts-test--objects) then)
                 (setq memory (starts-test--resident)))
                ((> (1+ i) (- starts starts-test--window))
                 (push (starts-test--objects) now))))))
    (let ((end (+ (float-time) 30)) held)
      ;; Emacs has timers of its own, which end.
      (while (not (cl-every #'<= (setq held (starts-test--settled)) before))
        (when (> (float-time) end)
          (ert-fail (list 'held before 'now held
                          'buffers (mapcar #'buffer-name (buffer-list))
                          'timers (mapcar #'timer--function timer-list))))
        (test-wait-for 0.5)))
    (princ (format "%s: %d starts, seed %d, in %.0f s; held %S\n"
                   what starts seed (- (float-time) began) before)
           #'external-debugging-output)
    (when (> starts 500)
      (let ((more (starts-test--more then now))
            (grown (- (starts-test--resident) memory)))
        (princ (format "since start %d: %+d KiB of %d, %S\n"
                       starts-test--even grown memory more)
               #'external-debugging-output)
        ;; One that each other start leaves behind would be too many.
        (dolist (kind more)
          (should (< (* 2 (cdr kind))
                     (- starts starts-test--even starts-test--window))))
        (unless (starts-test--assertions-p)
          (should (< grown starts-test--most)))))))

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
