;;; quits.el --- The Emacs whose user types C-g all the time  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by quits.py in an `emacs -Q --module-assertions'.  It is told what to do by keys
;; alone, and says how it is in the file "state".  Whoever types C-g three times in a row quits
;; whatever runs, timers and filters too, and so what is here has to be done again when it was quit.
;;
;; Without Gnus a reader of our own stands in for it: it lists the files of each folder that it is
;; to check.

;;; Code:

(load (expand-file-name "../e2e/lib" (file-name-directory load-file-name)) nil t)
(require 'mailsync)
(declare-function e2e-say "../e2e/lib")
(declare-function fixture-configure "gnus-init")
(declare-function fixture-start "gnus-init")
(declare-function fixture-unread "gnus-init")
(declare-function mailsync-gnus--refusal "mailsync-gnus-moment")
(declare-function mailsync-gnus-status "mailsync-gnus")
(declare-function mailsync-module--status "ext:mailsync-engine")
(declare-function mailsync-module--threads "ext:mailsync-engine")
(defvar e2e-work)

(defvar quits-groups nil
  "The groups that Gnus reads; nil without Gnus.")

(defvar quits-to-read (make-hash-table :test #'equal)
  "The directories that are to be read, as keys.")

(defvar quits-read (make-hash-table :test #'equal)
  "What was read: from directories to the names of their files, in short.")

(defvar quits-timer nil
  "The timer that does what is to be done, and says how it is.")

(defvar quits-ticks 0
  "How often it has run.")

(defvar quits-said nil
  "What was said last.")

(defvar quits-count 0
  "How many quits have come to the top.")

(defvar quits-marks 0
  "How often the user has asked whether all that was typed before is read.")

(defvar quits-mended 0
  "How often a pipe was made anew for a quit.")

(defun quits-check (_account changes done)
  "Have CHANGES read soon, and call DONE."
  (dolist (change changes)
    (puthash (plist-get change :truename) t quits-to-read))
  (funcall done (mapcar (lambda (change) (cons (plist-get change :folder) 'checked))
                        changes)))

(defun quits-read-all ()
  "Read what is to be read."
  (dolist (directory (hash-table-keys quits-to-read))
    (when (file-directory-p directory)
      (puthash directory
               (md5 (string-join
                     (sort (mapcan (lambda (part)
                                     (directory-files (expand-file-name part directory)
                                                      nil "\\`[^.]"))
                                   (list "new" "cur"))
                           #'string<)
                     "\n"))
               quits-read))
    ;; Not before: this may be quit.
    (remhash directory quits-to-read)))

(defun quits-mailsync-timers ()
  "What timers of mailsync's wait to do."
  (delq nil (mapcar (lambda (timer)
                      (let ((name (format "%S" (timer--function timer))))
                        (and (string-search "mailsync" name)
                             ;; A compiled one has anything in it.
                             (concat (replace-regexp-in-string
                                      "[^ -~]" "?" (substring name 0 (min 100 (length name))))
                                     (if (timer--triggered timer) ", begun")
                                     (if (memq timer timer-idle-list) ", idle")))))
                    (append timer-list timer-idle-list))))

(defun quits-stuck-p ()
  "Non-nil if Emacs counts a minibuffer that nobody reads in.
A quit has ended that in the middle, which is Emacs's own, and for good."
  (let ((stuck (> (minibuffer-depth) 0)))
    (mapbacktrace (lambda (_ function _ _)
                    (when (eq function 'read-from-minibuffer)
                      (setq stuck nil))))
    stuck))

(defun quits-state ()
  "How it is: an alist."
  (let ((status (and mailsync-mode (mailsync-module--status))))
    `((on . ,(and mailsync-mode t))
      (accounts . ,(mapcar (lambda (it) (list (car it) (cadr it))) mailsync--states))
      (pending . ,(mailsync--pending))
      ;; When each folder was synced last is held as well.
      ;; To see what is amiss if something is.
      (checks . ,(hash-table-values mailsync--batches))
      (held . ,(<= (or (plist-get status :held) 0) 4))
      (in-flight . ,(plist-get status :in-flight))
      (incoming . ,(and mailsync--incoming
                        (+ (hash-table-count mailsync--incoming)
                           (length mailsync--incoming-notices))))
      (sync . ,(let ((sync (mailsync-sync-state "w")))
                 (list (plist-get sync :phase) (plist-get sync :paused) (plist-get sync :pending))))
      (gnus . ,(and quits-groups (plist-get (mailsync-gnus-status) :pending)))
      (refused . ,(and quits-groups (mailsync-gnus--refusal)))
      (minibuffer . ,(minibuffer-depth))
      (recursion . ,(recursion-depth))
      (stuck . ,(quits-stuck-p))
      (debug . ,(or debug-on-quit debug-on-error))
      (threads . ,(mailsync-module--threads))
      (processes . ,(length (process-list)))
      (pipes . ,(seq-count (lambda (it) (string-prefix-p " *mailsync pipe" it))
                           (append (mapcar #'process-name (process-list))
                                   (mapcar #'buffer-name (buffer-list)))))
      (timers . ,(quits-mailsync-timers))
      ;; What waits, if something does.
      (within . ,(let (functions)
                   (mapbacktrace (lambda (_ function _ _)
                                   (push (if (symbolp function) function 'lambda) functions)))
                   (seq-take-while (lambda (function) (not (eq function 'timer-event-handler)))
                                   functions)))
      ,@(if quits-groups
            (mapcar (lambda (group) (cons (concat "read " group) (fixture-unread group)))
                    quits-groups)
          (let (read)
            (maphash (lambda (directory names) (push (cons (concat "read " directory) names) read))
                     quits-read)
            read)))))

(defun quits-tick ()
  "Do what is to be done, and say how it is; again after a while.
Emacs reads no key and no process while a timer is due, as a repeating one always is
on a machine that is too slow for it."
  (unwind-protect
      (quits-tick-once)
    (setq quits-timer (run-with-timer 0.05 nil #'quits-tick))))

(defun quits-tick-once ()
  "Do what is to be done, and say how it is."
  (condition-case err
      (let ((coding-system-for-write 'utf-8))
        (setq quits-ticks (1+ quits-ticks))
        (quits-read-all)
        (let ((file (concat e2e-work "state"))
              (text (mapconcat (lambda (pair) (format "%s\t%S\n" (car pair) (cdr pair)))
                               (quits-state) "")))
          (write-region (format "%sticks\t%d\nquits\t%d\nmarks\t%d\nmended\t%d\nflag\t%S\n"
                                text quits-ticks quits-count quits-marks quits-mended quit-flag)
                        nil (concat file ".new") nil 'silent)
          (rename-file (concat file ".new") file t)))
    ;; The next one does it.
    (quit nil)
    (error (e2e-say "error" err))))

(defun quits-tick-on ()
  "See to it that there will be a next tick, whatever was quit."
  (unless (mailsync--armed-p quits-timer)
    (when quits-timer
      (cancel-timer quits-timer))
    (setq quits-timer (run-with-timer 0.05 nil #'quits-tick))))

(defun quits-note (data &rest _)
  "Count the quit of which DATA tells, and complain of an error."
  (if (eq (car data) 'quit)
      (setq quits-count (1+ quits-count))
    ;; What whoever types at random is told by Emacs itself.
    (unless (or (equal data '(no-catch exit t)) ; C-] while a quit ends the minibuffer
                (memq (car data) '(user-error beginning-of-buffer end-of-buffer text-read-only
                                              buffer-read-only minibuffer-quit))
                (string-search "while in minibuffer" (error-message-string data)))
      (e2e-say "error" data))))

(defun quits-home ()
  "Show one window, without what commands have shown."
  (interactive)
  (delete-other-windows)
  (switch-to-buffer (if quits-groups "*Group*" "*scratch*")))

(defun quits-mark ()
  "Say that all that was typed before this is read."
  (interactive)
  (setq quits-marks (1+ quits-marks)))

(defun quits-log ()
  "Show the log."
  (interactive)
  (mailsync-log)
  (other-window 1))

(defun quits-save-log ()
  "Write the log and the messages down."
  (interactive)
  (dolist (buffer '("*mailsync-log*" "*Messages*"))
    (with-current-buffer buffer
      (write-region nil nil (concat e2e-work (string-trim buffer "[*]" "[*]")) nil 'silent))))

(define-minor-mode quits-keys-mode
  "The keys of this user, in all buffers."
  :global t
  :keymap (let ((map (make-sparse-keymap)))
            (dolist (key '((?s . mailsync-status) (?l . quits-log) (?y . mailsync-sync)
                           (?o . mailsync-stop) (?i . mailsync-start) (?r . mailsync-restart)
                           (?c . mailsync-check) (?p . mailsync-pause) (?e . mailsync-resume)
                           (?h . quits-home) (?m . quits-mark) (?w . quits-save-log)))
              (define-key map (vector (event-convert-list (list 'meta (car key)))) (cdr key)))
            map))

(defun quits-start-gnus ()
  "Start a Gnus that reads the maildirs that \"links\" has links to."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (let ((directory (getenv "QUITS_LINKS")))
    (fixture-configure (concat e2e-work "gnus") "fix" directory)
    (setq quits-groups (mapcar (lambda (name) (concat "nnmaildir+fix:" name))
                               (directory-files directory nil "\\`[^.]")))
    (apply #'fixture-start quits-groups)))

(defun quits-start ()
  "Start, with a frame on the terminal that there is for one, if there is."
  (let ((terminal (getenv "QUITS_TERMINAL")))
    (when terminal
      (select-frame (make-frame `((window-system) (tty . ,terminal) (tty-type . "xterm")))))
    (load (getenv "SYNC_INIT") nil t)
    (when (getenv "QUITS_LINKS")
      (quits-start-gnus))
    (advice-add 'mailsync-pipe-quit :after
                (lambda (&rest _) (setq quits-mended (1+ quits-mended))))
    (quits-keys-mode 1)
    (mailsync-mode 1)
    (quits-home)
    (add-function :before command-error-function #'quits-note)
    (add-hook 'post-command-hook #'quits-tick-on)
    (quits-tick-on)
    (e2e-say "started" (emacs-pid))))

(run-with-timer 0.1 nil (lambda ()
                          (condition-case err
                              (quits-start)
                            (error (e2e-say "error" err)))))

(provide 'quits)
;;; quits.el ends here
