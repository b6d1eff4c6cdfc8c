;;; mailsync-test-helper.el --- What the tests share  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A throwaway Maildir, deliveries, and waiting for a condition.

;;; Code:

(require 'cl-lib)
(require 'ert)
(require 'mailsync-life)

(defun test-wait (condition &optional seconds)
  "Wait until CONDITION, a function, returns non-nil; return that.
After SECONDS (10 by default) it is an error."
  (let ((end (+ (float-time) (or seconds 10)))
        value)
    (while (not (setq value (funcall condition)))
      (when (> (float-time) end)
        (error "Waited in vain for %S; the log says:\n%s" condition (test-log)))
      (accept-process-output nil 0.02))
    value))

(defun test-wait-for (seconds)
  "Wait for SECONDS, and let happen what happens."
  (let ((end (+ (float-time) seconds)))
    (test-wait (lambda () (> (float-time) end)))))

(defun test-emacs (&rest args)
  "Run another Emacs of this kind with ARGS in batch, its output into this buffer.
Return its exit status."
  (apply #'call-process
         ;; It may need the environment that only the program it was started by makes.
         (or (getenv "EMACS")
             (expand-file-name invocation-name invocation-directory))
         nil t nil "-Q" "--batch" "-L" mailsync-module--lisp-directory args))

(defun test-log ()
  "The text of the log."
  (if (get-buffer mailsync-log--buffer)
      (with-current-buffer mailsync-log--buffer (buffer-string))
    ""))

(defun test-maildir (directory)
  "Make DIRECTORY a maildir; return it."
  (dolist (part '("cur" "new" "tmp"))
    (make-directory (expand-file-name part directory) t))
  directory)

(defvar test-delivered 0
  "Messages delivered so far.")

(defun test-deliver (directory &optional count)
  "Deliver COUNT messages (1 by default) into DIRECTORY, as an MDA does."
  (let ((create-lockfiles nil) (coding-system-for-write 'binary))
    (dotimes (_ (or count 1))
      (let* ((name (format "%d.test" (cl-incf test-delivered)))
             (tmp (expand-file-name (concat "tmp/" name) directory)))
        (write-region "Subject: test\n\n" nil tmp nil 'silent)
        (rename-file tmp (expand-file-name (concat "new/" name) directory))))))

(defvar test-changes nil
  "Changes that the hook was told, newest first.")

(defun test-note-changes (_account changes)
  "Remember CHANGES."
  (setq test-changes (append (reverse changes) test-changes)))

(defun test-changed (folder &optional kind)
  "Non-nil if FOLDER changed since `test-changes' was last nil, by KIND."
  (seq-some (lambda (change)
              (and (equal (plist-get change :folder) folder)
                   (or (null kind) (memq kind (plist-get change :kinds)))
                   change))
            test-changes))

(defun test-state (account)
  "The state of ACCOUNT."
  (car (alist-get account mailsync--states nil nil #'equal)))

(defun test-matches (directory regexp)
  "How many lines of the files in DIRECTORY, which may vanish, match REGEXP."
  (let ((count 0))
    (dolist (file (directory-files directory t "^[0-9]") count)
      (ignore-errors
        (with-temp-buffer
          (insert-file-contents file)
          (setq count (+ count (count-matches regexp (point-min) (point-max)))))))))

(defun test-children ()
  "How many processes this Emacs, or one of its threads, has begun and not ended."
  (apply #'+ (mapcar (lambda (task)
                       (condition-case nil
                           (with-temp-buffer
                             (insert-file-contents (concat task "/children"))
                             (count-words (point-min) (point-max)))
                         (file-error 0)))
                     (directory-files "/proc/self/task" t "^[0-9]"))))

(defun test-holdings ()
  "What this Emacs holds: descriptors, threads, watches, processes, buffers."
  (list (length (directory-files "/proc/self/fd"))
        (length (directory-files "/proc/self/task"))
        (test-matches "/proc/self/fdinfo" "^inotify")
        (test-children)
        (length (process-list))
        (length (buffer-list))
        (length timer-list)
        (length timer-idle-list)))

(defun test-threads ()
  "Names of the threads that are ours or the notification's."
  (seq-filter (lambda (name) (string-match-p "mailsync\\|notify" name))
              (mapcar (lambda (task)
                        (condition-case nil
                            (with-temp-buffer
                              (insert-file-contents (concat task "/comm"))
                              (buffer-string))
                          ;; It ended before we opened the file, or before we read it.
                          (file-error "")))
                      (directory-files "/proc/self/task" t "^[0-9]"))))

(defmacro test-with-mailsync (maildirs accounts &rest body)
  "Run BODY with mailsync on for ACCOUNTS, in a new directory `root'.
MAILDIRS are made below it before.  ACCOUNTS nil means one account \"w\" for
`root'.  What the hooks are told is in `test-changes'."
  (declare (indent 2))
  `(let* ((root (file-truename (make-temp-file "mailsync-test" t)))
          (test-changes nil)
          (mailsync-coalesce-delay 0.02)
          (mailsync-accounts (or ,accounts (list (list "w" :maildir root))))
          (mailsync-changed-functions (list #'test-note-changes)))
     (dolist (maildir ,maildirs)
       (test-maildir (expand-file-name maildir root)))
     (when (get-buffer mailsync-log--buffer)
       (kill-buffer mailsync-log--buffer))
     (unwind-protect
         (progn
           (mailsync-mode 1)
           ,@body)
       (mailsync-mode -1)
       (test-wait (lambda () (zerop (mailsync-module--threads))))
       (delete-directory root t))))

(defun test-watching (&rest accounts)
  "Wait until ACCOUNTS are being watched, and forget what was told till then."
  (test-wait (lambda ()
               (seq-every-p (lambda (account) (eq (test-state account) 'watching))
                            accounts)))
  (setq test-changes nil))

(provide 'mailsync-test-helper)
;;; mailsync-test-helper.el ends here
