;;; mailsync-gnus-test-helper.el --- What the tests with a real Gnus share  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A throwaway Gnus on a generated Maildir tree, as much of mailsync's
;; core as its Gnus side calls, and waiting for a condition.

;;; Code:

(require 'ert)
(require 'cl-lib)
(require 'subr-x)

(defconst mailsync-gnus-test--here
  (file-name-directory (or load-file-name buffer-file-name)))

(defun mailsync-gnus-test--fixture (name)
  "The file NAME among the fixtures."
  (expand-file-name (concat "../fixtures/" name) mailsync-gnus-test--here))

(load (mailsync-gnus-test--fixture "gnus-init") nil t)
(require 'gnus)
(require 'gnus-demon)
(require 'gnus-group)
(require 'gnus-start)
(require 'gnus-sum)
(require 'nnimap)
(require 'nnmaildir)
(require 'mailsync-gnus)

;;;; The core, as far as it is needed

(defvar mailsync-gnus-test--accounts '(("home"))
  "Alist from account to its keys.")
(defvar mailsync-gnus-test--log nil "What was logged, latest first.")
(defvar mailsync-gnus-test--hooks nil "Hooks that were run, latest first.")
(defvar mailsync-gnus-test--resolve t
  "Whether file names are resolved; a function to be called instead.")
(defvar mailsync-new-mail-functions nil)
(defvar mailsync-mode-line "")

(unless (fboundp 'mailsync-account-get)
  (defun mailsync-account-get (account key)
    (plist-get (cdr (assoc account mailsync-gnus-test--accounts)) key)))

;; What comes of a log is to be seen, unless who loads this wants the real one.
(require 'mailsync-log)
(unless (or (featurep 'mailsync-dispatch) (bound-and-true-p mailsync-gnus-test-real-log))
  (defun mailsync-log-add (level format &rest args)
    (push (format "%s: %s" level (apply #'format format args))
          mailsync-gnus-test--log))

  (defun mailsync--once (_key level format &rest args)
    (apply #'mailsync-log-add level format args))

  (defun mailsync--run-hook-safely (hook &rest args)
    (push hook mailsync-gnus-test--hooks)
    (apply #'run-hook-with-args hook args)))

(unless (fboundp 'mailsync--resolve)
  (defun mailsync--resolve (_key names callback)
    (let ((answer (lambda ()
                    (funcall callback
                             (cl-loop for name in names
                                      when (file-exists-p name)
                                      collect (cons name (file-truename name)))))))
      (if (functionp mailsync-gnus-test--resolve)
          (funcall mailsync-gnus-test--resolve answer)
        (run-at-time 0 nil answer)))))

(unless (fboundp 'mailsync-status-update)
  (defun mailsync-status-update ()
    (setq mailsync-mode-line (mailsync-gnus-total-text))))

(unless (fboundp 'mailsync--check-skipped)
  (defun mailsync--check-skipped ()))

(defvar mailsync-gnus-test--late nil
  "What was checked when whoever had asked was answered: (FOLDER RESULT) each.")
(unless (fboundp 'mailsync--checked-late)
  (defun mailsync--checked-late (_account change result)
    (push (list (plist-get change :folder) result) mailsync-gnus-test--late)))

(unless (fboundp 'mailsync--set-checking)
  (defun mailsync--set-checking (_flag)))

;;;; Helpers

(defmacro mailsync-gnus-test--wait (condition &optional seconds)
  "Let Emacs work until CONDITION holds, at most SECONDS (5); return its value."
  `(mailsync-gnus-test--wait-1 (lambda () ,condition) ',condition
                               (or ,seconds 5)))

(defun mailsync-gnus-test--wait-1 (function form seconds)
  "Wait until FUNCTION returns non-nil, at most SECONDS; FORM names it."
  (let ((end (+ (float-time) seconds))
        value)
    (while (not (or (setq value (funcall function))
                    (> (float-time) end)))
      (accept-process-output nil 0.02))
    (or value (ert-fail (list 'timeout form :log (format "%S" mailsync-gnus-test--log)
                              :status (mailsync-gnus-status))))))

(defun mailsync-gnus-test--run (program &rest args)
  "Run the fixture PROGRAM with ARGS; return its output."
  (let ((file (make-temp-file "mailsync-gnus-run")))
    (unwind-protect
        ;; To a file: a daemon that it starts may keep a pipe open.
        (let ((status (apply #'call-process (mailsync-gnus-test--fixture program)
                             nil (list :file file) nil args)))
          (with-temp-buffer
            (insert-file-contents file)
            (unless (eql status 0)
              (error "%s: %S: %s" program status (buffer-string)))
            (string-trim (buffer-string))))
      (delete-file file))))

(defvar mailsync-gnus-test--number 0)
(defvar mailsync-gnus-test--old-dirs nil "Directories of earlier tests.")

;; nndraft remembers where it was, and makes that directory again.
(add-hook 'kill-emacs-hook
          (lambda ()
            (dolist (dir mailsync-gnus-test--old-dirs)
              (when (file-directory-p dir) (delete-directory dir t)))))
(defvar mailsync-gnus-test--dir nil "Directory of the test that runs.")
(defvar mailsync-gnus-test--name nil "Name of its servers.")
(defvar mailsync-gnus-test--imap-port nil "Port of its Dovecot.")

(defun mailsync-gnus-test--free-port ()
  "A port on loopback that nobody listens on."
  (let ((server (make-network-process :name "free-port" :server t
                                      :host "127.0.0.1" :service t
                                      :family 'ipv4)))
    (prog1 (process-contact server :service)
      (delete-process server))))

(defun mailsync-gnus-test--need-dovecot ()
  "Skip the test without Dovecot where that is allowed, else fail."
  (unless (let ((exec-path (append exec-path '("/usr/sbin"))))
            (executable-find "dovecot"))
    (if (getenv "MAILSYNC_ALLOW_SKIP")
        (ert-skip "no dovecot")
      (ert-fail "dovecot is needed (or MAILSYNC_ALLOW_SKIP=1)"))))

(defun mailsync-gnus-test--directory (folder)
  "The directory of FOLDER."
  (directory-file-name
   (if (equal folder "INBOX")
       (expand-file-name "mail" mailsync-gnus-test--dir)
     (expand-file-name (concat "mail/." (string-replace "/" "." folder))
                       mailsync-gnus-test--dir))))

(defun mailsync-gnus-test--group (backend folder)
  "The group of BACKEND that shows FOLDER."
  (format "%s+%s:%s" backend mailsync-gnus-test--name
          (string-replace "/" "." folder)))

(defun mailsync-gnus-test--change (folder &rest kinds)
  "A change of KINDS in FOLDER."
  (let ((directory (mailsync-gnus-test--directory folder)))
    (list :account "home" :folder folder :directory directory
          :truename (and (file-exists-p directory) (file-truename directory))
          :kinds kinds :origins '(local))))

(defun mailsync-gnus-test--look (folder &rest kinds)
  "A change of KINDS in FOLDER, while a mail reader has looked at it."
  (plist-put (apply #'mailsync-gnus-test--change folder 'flags kinds)
             :quiet '(flags)))

(defun mailsync-gnus-test--deliver (folder &optional subject)
  "Deliver a message with SUBJECT into FOLDER; return its file name."
  (let ((name (mailsync-gnus-test--run
               "deliver.sh" (mailsync-gnus-test--directory folder)
               (or subject "delivered"))))
    (expand-file-name (concat "new/" name)
                      (mailsync-gnus-test--directory folder))))

(defun mailsync-gnus-test--files (folder)
  "The messages of FOLDER, as file names."
  (let ((directory (mailsync-gnus-test--directory folder)))
    (append (directory-files (expand-file-name "cur" directory) t "\\`[^.]")
            (directory-files (expand-file-name "new" directory) t "\\`[^.]"))))

(defun mailsync-gnus-test--unseen (folder)
  "The unread messages of FOLDER, as file names."
  (cl-remove-if (lambda (file) (string-match-p ":2,[A-Z]*S" file))
                (mailsync-gnus-test--files folder)))

(defun mailsync-gnus-test--mark-seen (file)
  "Mark the message in FILE as read, as another program does."
  (let ((name (file-name-nondirectory file)))
    (rename-file file
                 (expand-file-name
                  (concat "../cur/" (car (split-string name ":2,")) ":2,S")
                  (file-name-directory file)))))

(defun mailsync-gnus-test--send (&rest changes)
  "Have CHANGES checked; return a list that will be (RESULTS NEWS)."
  (let ((box (list nil)))
    (mailsync-gnus-check-changes
     "home" changes
     (lambda (results news)
       (setcar box (1+ (or (car box) 0)))
       (setcdr box (list results news))))
    box))

(defun mailsync-gnus-test--check (&rest changes)
  "Have CHANGES checked, wait for it, and return (RESULTS NEWS)."
  (let ((box (apply #'mailsync-gnus-test--send changes)))
    (mailsync-gnus-test--wait (car box))
    (should (equal (car box) 1))
    (mailsync-gnus-test--wait (null mailsync-gnus--risen))
    ;; In the order of the changes: they are settled in any.
    (let ((names (mapcar (lambda (change) (plist-get change :folder)) changes)))
      (list (sort (nth 1 box)
                  (lambda (a b) (< (cl-position (car a) names :test #'equal)
                                   (cl-position (car b) names :test #'equal))))
            (sort (nth 2 box)
                  (lambda (a b)
                    (< (cl-position (plist-get a :folder) names :test #'equal)
                       (cl-position (plist-get b :folder) names :test #'equal))))))))

(defun mailsync-gnus-test--call (function dir backends folders)
  "Call FUNCTION in a Gnus with BACKENDS on a new tree below DIR.
FOLDERS are subscribed."
  (let* ((mailsync-gnus-test--dir dir)
         (mailsync-gnus-test--name
          (format "test%d" (cl-incf mailsync-gnus-test--number)))
         (mailsync-gnus-test--imap-port nil)
         (mailsync-gnus-test--log nil)
         (mailsync-gnus-test--hooks nil)
         (mailsync-gnus-test--late nil)
         (mailsync-gnus-test--resolve t)
         (mailsync-gnus-test--accounts '(("home")))
         (mailsync-gnus-catch-up-delay 1000)
         (mailsync-gnus--counts nil)
         (mailsync-gnus--last-error nil)
         (process-environment process-environment)
         (inhibit-message t)
         (dovecot (expand-file-name "dovecot" dir)))
    (push dir mailsync-gnus-test--old-dirs)
    (set-file-modes dir #o711)          ; for Dovecot's user
    (push "TZ=UTC" process-environment)
    (mailsync-gnus-test--run "make-corpus.py" (expand-file-name "mail" dir)
                             "--folders" "3" "--messages" "10" "--unread" "30"
                             "--links" (expand-file-name "server" dir))
    (unwind-protect
        (progn
          (when (memq 'nnimap backends)
            (mailsync-gnus-test--need-dovecot)
            (setq mailsync-gnus-test--imap-port
                  (mailsync-gnus-test--free-port))
            (mailsync-gnus-test--run
             "dovecot.sh" "start" dovecot (expand-file-name "mail" dir)
             "maildir++" (number-to-string mailsync-gnus-test--imap-port)))
          (fixture-configure (expand-file-name "home" dir)
                             mailsync-gnus-test--name
                             (and (memq 'nnmaildir backends)
                                  (expand-file-name "server" dir))
                             mailsync-gnus-test--imap-port)
          (apply #'fixture-start
                 (cl-loop for backend in backends
                          append (mapcar (lambda (folder)
                                           (mailsync-gnus-test--group
                                            backend folder))
                                         folders)))
          (mailsync-gnus-setup)
          (funcall function))
      (mailsync-gnus-teardown)
      (when (gnus-alive-p)
        (unless (buffer-live-p nntp-server-buffer) ; suspended
          (nnheader-init-server-buffer))
        (unless (hash-table-p gnus-newsrc-hashtb)
          (gnus-clear-system))
        (with-current-buffer gnus-group-buffer (gnus-group-exit)))
      (auth-source-forget-all-cached)
      (when (file-directory-p dovecot)
        (mailsync-gnus-test--run "dovecot.sh" "stop" dovecot))
      (delete-directory dir t))))

(defun mailsync-gnus-test--when-asked (function)
  "Call FUNCTION once, when an nnimap server was asked and has not answered."
  (advice-add 'mailsync-gnus--imap-send :after
              (lambda (&rest _)
                (advice-remove 'mailsync-gnus--imap-send 'when-asked)
                (funcall function))
              '((name . when-asked))))

(defmacro mailsync-gnus-test--with (backends folders &rest body)
  "Evaluate BODY in a Gnus with BACKENDS, where FOLDERS are subscribed."
  (declare (indent 2))
  `(mailsync-gnus-test--call (lambda () ,@body)
                             (make-temp-file "mailsync-gnus" t)
                             ,backends ,folders))

(defun mailsync-gnus-test--number-from (variable default)
  "The number in the environment's VARIABLE, or DEFAULT."
  (let ((value (getenv variable)))
    (if (member value '(nil "")) default (string-to-number value))))

;;;; A user at random

(defun mailsync-gnus-test--user (backend rounds)
  "A random user of BACKEND for ROUNDS, with mail arriving: counts stay right."
  (load (mailsync-gnus-test--fixture "gnus-user") nil t)
  (mailsync-gnus-test--with (list backend) '("folder000" "folder001" "INBOX")
    (let* ((folders '("folder000" "folder001" "INBOX"))
           (groups (mapcar (lambda (folder)
                             (mailsync-gnus-test--group backend folder))
                           folders))
           (compared 0))
      (cl-letf (((symbol-function 'mailsync-gnus--clean-stack-p)
                 ;; Between two actions Gnus does not wait, though it
                 ;; is on the stack.
                 (lambda () t)))
        (gnus-user-run
         rounds 7 groups
         (lambda (action)
           (let ((folder (gnus-user-pick folders)))
             (when (= 0 (gnus-user-random 3))
               (mailsync-gnus-test--deliver folder)
               (mailsync-gnus-test--send
                (mailsync-gnus-test--change folder 'new)))
             (accept-process-output nil 0.001)
             (when (and (memq action '(leave catchup expire start))
                        (gnus-alive-p))
               (apply #'mailsync-gnus-test--check
                      (mapcar (lambda (folder)
                                (mailsync-gnus-test--change folder 'flags))
                              folders))
               (mailsync-gnus-test--wait
                (= 0 (plist-get (mailsync-gnus-status) :pending)))
               (cl-incf compared)
               (should (equal (list (car gnus-user-log)
                                    (mapcar #'fixture-unread groups))
                              (list (car gnus-user-log)
                                    (mapcar (lambda (folder)
                                              (length (mailsync-gnus-test--unseen
                                                       folder)))
                                            folders)))))))))
      (should (> compared (/ rounds 2)))
      (should-not (plist-get (mailsync-gnus-status) :last-error)))))

(provide 'mailsync-gnus-test-helper)
;;; mailsync-gnus-test-helper.el ends here
