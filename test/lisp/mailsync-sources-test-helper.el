;;; mailsync-sources-test-helper.el --- A Gnus that takes mail out of maildirs  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A real Gnus whose server (nnml, nnfolder or nnmaildir) takes mail out
;; of two maildirs, `incoming' and `other', and splits it into two
;; groups, `list' and `misc'.

;;; Code:

(require 'mailsync-gnus-test-helper)
(require 'mail-source)
(require 'nnmail)
(require 'nnml)
(require 'nnfolder)

(defun mailsync-sources-test--path (&rest parts)
  "The file that PARTS name below the directory of the test."
  (expand-file-name (mapconcat #'identity parts "/") mailsync-gnus-test--dir))

(defun mailsync-sources-test--method (backend)
  "The server of BACKEND."
  (let ((name mailsync-gnus-test--name)
        (store (mailsync-sources-test--path "store/")))
    (make-directory store t)
    (pcase backend
      ('nnml `(nnml ,name (nnml-directory ,store)
                    (nnml-active-file ,(concat store "active"))
                    (nnml-newsgroups-file ,(concat store "newsgroups"))))
      ('nnfolder `(nnfolder ,name (nnfolder-directory ,store)
                            (nnfolder-active-file ,(concat store "active"))
                            (nnfolder-newsgroups-file
                             ,(concat store "newsgroups"))))
      ('nnmaildir `(nnmaildir ,name (directory ,store) (get-new-mail t))))))

(defvar mailsync-sources-test--primary nil
  "Non-nil if the server is `gnus-select-method'.")

(defun mailsync-sources-test--server ()
  "The server that takes in the mail."
  (if mailsync-sources-test--primary
      gnus-select-method
    (car gnus-secondary-select-methods)))

(defun mailsync-sources-test--group (name)
  "The group NAME of the server."
  (let ((method (mailsync-sources-test--server)))
    (if mailsync-sources-test--primary
        name
      (format "%s+%s:%s" (car method) (nth 1 method) name))))

(defun mailsync-sources-test--counts ()
  "The numbers of unread messages of the two groups."
  (mapcar (lambda (name)
            (fixture-unread (mailsync-sources-test--group name)))
          '("list" "misc")))

(defun mailsync-sources-test--change (folder &rest kinds)
  "A change of KINDS in the maildir FOLDER."
  (let ((directory (mailsync-sources-test--path folder)))
    (list :account "home" :folder folder :directory directory
          :truename (and (file-exists-p directory) (file-truename directory))
          :kinds kinds :origins '(local))))

(defun mailsync-sources-test--deliver (folder subject)
  "Deliver a message with SUBJECT into the maildir FOLDER."
  (mailsync-gnus-test--run "deliver.sh" (mailsync-sources-test--path folder)
                           subject))

(defun mailsync-sources-test--left (folder)
  "How many messages are in the maildir FOLDER."
  (cl-loop for part in '("new" "cur")
           sum (length (directory-files (mailsync-sources-test--path folder part)
                                        nil "\\`[^.]"))))

(defun mailsync-sources-test--maildir (path)
  "Make the maildir PATH."
  (dolist (part '("cur" "new" "tmp"))
    (make-directory (expand-file-name part path) t)))

(defun mailsync-sources-test--fetches ()
  "How many fetches there were."
  (or (plist-get (plist-get (mailsync-gnus-status) :checks) :fetches) 0))

(defun mailsync-sources-test--said (text)
  "How often the log says TEXT."
  (cl-count-if (lambda (line) (string-match-p (regexp-quote text) line))
               mailsync-gnus-test--log))

(defvar mailsync-sources-test--portion 50
  "How many messages are fetched in one go, nil: as time allows.")

(defvar mailsync-sources-test--once nil "Keys of what was said once.")

(defun mailsync-sources-test--call (backend function)
  "Call FUNCTION in a Gnus with a server of BACKEND that takes in mail."
  (let* ((dir (file-truename (make-temp-file "mailsync-sources" t)))
         (mailsync-gnus-test--dir dir)
         (mailsync-gnus-test--name
          (format "source%d" (cl-incf mailsync-gnus-test--number)))
         (mailsync-gnus-test--log nil)
         (mailsync-gnus-test--hooks nil)
         (mailsync-gnus-test--resolve t)
         (mailsync-gnus-test--accounts '(("home")))
         (mailsync-gnus-catch-up-delay 1000)
         (mailsync-gnus--counts nil)
         (mailsync-gnus--last-error nil)
         (mailsync-sources-test--once nil)
         (inhibit-message t)
         (nnmail-split-methods '(("list" "^Subject:.*list") ("misc" ""))))
    (push dir mailsync-gnus-test--old-dirs)
    (fixture-configure (expand-file-name "home" dir) mailsync-gnus-test--name)
    (mapc #'mailsync-sources-test--maildir
          (mapcar #'mailsync-sources-test--path '("incoming" "other")))
    (setq mail-sources `((maildir :path ,(mailsync-sources-test--path "incoming"))
                         (maildir :path ,(mailsync-sources-test--path "other")))
          nnmail-split-history nil)
    (unwind-protect
        (cl-letf* ((size (symbol-function 'mailsync-gnus--fetch-size))
                   ((symbol-function 'mailsync-gnus--fetch-size)
                    (lambda () (or mailsync-sources-test--portion (funcall size))))
                   ((symbol-function 'mailsync--once)
                    (lambda (key level format &rest args)
                      (unless (member key mailsync-sources-test--once)
                        (push key mailsync-sources-test--once)
                        (apply #'mailsync-log-add level format args)))))
          (if mailsync-sources-test--primary
              (setq gnus-select-method (mailsync-sources-test--method backend))
            (push (mailsync-sources-test--method backend)
                  gnus-secondary-select-methods))
          (fixture-start)
          (dolist (name '("list" "misc"))
            (gnus-request-create-group name (mailsync-sources-test--server))
            (gnus-subscribe-group (mailsync-sources-test--group name) nil
                                  (mailsync-sources-test--server)))
          (gnus-group-get-new-news)
          (should (equal (mailsync-sources-test--counts) '(0 0)))
          (mailsync-gnus-setup)
          (funcall function))
      (mailsync-gnus-teardown)
      (setq mail-sources nil)
      (when (gnus-alive-p)
        (with-current-buffer gnus-group-buffer (gnus-group-exit)))
      (delete-directory dir t))))

(defmacro mailsync-sources-test--with (backend &rest body)
  "Evaluate BODY in a Gnus with a server of BACKEND that takes in mail."
  (declare (indent 1))
  `(mailsync-sources-test--call ,backend (lambda () ,@body)))

(defmacro mailsync-sources-test--for-each (name doc backends &rest body)
  "Define tests NAME-BACKEND with DOC that evaluate BODY for each of BACKENDS."
  (declare (indent 3))
  `(progn
     ,@(mapcar (lambda (backend)
                 `(ert-deftest ,(intern (format "%s-%s" name backend)) ()
                    ,doc
                    (mailsync-sources-test--with ',backend ,@body)))
               backends)))

(defun mailsync-sources-test--check (folder &rest kinds)
  "Have a change of KINDS in FOLDER checked; return (RESULT NEWS)."
  (pcase-let ((`(((,_ . ,result)) ,news)
               (mailsync-gnus-test--check
                (apply #'mailsync-sources-test--change folder kinds))))
    (list result (plist-get (car news) :groups))))

(defun mailsync-sources-test--deliver-many (number)
  "Put NUMBER messages into `incoming', half of them into each subdirectory."
  (dotimes (i number)
    (write-region (format "Subject: to %s\nMessage-ID: <%d.%s@many.invalid>\n\nMany\n"
                          (if (cl-evenp i) "the list" "me") i
                          mailsync-gnus-test--name)
                  nil
                  (mailsync-sources-test--path
                   "incoming" (if (< i (/ number 2)) "new" "cur")
                   (format "%03d" i))
                  nil 'silent)))

(provide 'mailsync-sources-test-helper)
;;; mailsync-sources-test-helper.el ends here
