;;; mailsync-listen-test.el --- What other programs are told  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What goes over the socket is the module's business, and tried in test/attach; here it is the option.

;;; Code:

(require 'mailsync-test-helper)

(defmacro listen-test-with (variable &rest body)
  "Run BODY with VARIABLE bound to the name of a socket in a private directory."
  (declare (indent 1))
  `(let* ((directory (make-temp-file "mailsync-run" t))
          (,variable (expand-file-name "socket" directory)))
     (unwind-protect
         (progn ,@body)
       (delete-directory directory t))))

(defun listen-test-attach (socket)
  "Attach to SOCKET; return the process, in whose buffer is what it is told."
  (let ((process (make-network-process :name "attached" :buffer (generate-new-buffer " *attached*")
                                       :family 'local :service socket :coding 'binary :noquery t)))
    (process-send-string process "attach 1\n")
    process))

(defun listen-test-said-p (process regexp)
  "Non-nil if PROCESS was told something that matches REGEXP."
  (with-current-buffer (process-buffer process)
    (save-excursion
      (goto-char (point-min))
      (re-search-forward regexp nil t))))

(ert-deftest mailsync-listen-tells-what-was-checked ()
  "A folder is named when its check is done; the socket goes with the mode."
  (listen-test-with socket
    (let* ((mailsync-listen socket)
           (done nil)
           (mailsync-check-function (lambda (_account changes callback)
                                      (push (cons changes callback) done)))
           (release (lambda ()
                      (pcase-dolist (`(,changes . ,callback) (prog1 done (setq done nil)))
                        (funcall callback
                                 (mapcar (lambda (change)
                                           (cons (plist-get change :folder) 'checked))
                                         changes)))))
           process)
      (test-with-mailsync '("" ".a") nil
        (test-watching "w")
        (test-wait (lambda () (file-exists-p socket)))
        (should (equal (file-modes socket) #o600))
        (test-wait (lambda () done))
        (setq process (listen-test-attach socket))
        (test-wait (lambda () (listen-test-said-p process "^root ")))
        (funcall release)
        (test-deliver (expand-file-name ".a" root))
        (test-wait (lambda () (test-changed "a" 'new)))
        (should-not (listen-test-said-p process "^change [^ ]*new"))
        (funcall release)
        (test-wait (lambda ()
                     (listen-test-said-p process "^change [^ ]*new[^ ]* [^ ]+ [^ ]+/\\.a a$")))
        ;; One that stays as it is goes on.
        (mailsync-restart)
        (let ((mailsync-listen nil))
          (should (process-live-p process))
          (mailsync-restart)
          (test-wait (lambda () (not (process-live-p process))))
          (test-wait (lambda () (not (file-exists-p socket)))))
        (mailsync-restart)
        (test-wait (lambda () (file-exists-p socket))))
      (should-not (file-exists-p socket)))))

(ert-deftest mailsync-listen-suspended ()
  "An Emacs that is about to be stopped has hung up before, and serves again afterwards."
  (listen-test-with socket
    (let ((mailsync-listen socket))
      (test-with-mailsync '("") nil
        (test-watching "w")
        (test-wait (lambda () (file-exists-p socket)))
        (let ((process (listen-test-attach socket)))
          (test-wait (lambda () (listen-test-said-p process "^root ")))
          (run-hooks 'suspend-hook)
          (should-not (file-exists-p socket))
          (test-wait (lambda () (not (process-live-p process)))))
        (run-hooks 'suspend-resume-hook)
        (test-wait (lambda () (file-exists-p socket))))
      (run-hooks 'suspend-hook 'suspend-resume-hook)
      (should-not (file-exists-p socket)))))

;; Security: S12.
(ert-deftest mailsync-listen-mistakes ()
  "A mistake is one message that names the option; the rest starts."
  (listen-test-with socket
    (let ((table `((42 . "neither nil nor t") ("" . "neither nil nor t")
                   ("/ssh:host:/socket" . "neither nil nor t")
                   (,(expand-file-name "none/none/socket" directory) . "none")
                   (,(expand-file-name (make-string 200 ?x) directory) . "too long")
                   (,(expand-file-name "open/socket" directory) . "chmod go-rwx"))))
      (make-directory (expand-file-name "open" directory))
      (set-file-modes (expand-file-name "open" directory) #o755)
      (pcase-dolist (`(,mailsync-listen . ,what) table)
        (test-with-mailsync '("") nil
          (test-watching "w")
          (test-wait (lambda ()
                       (string-match-p (concat "error +.mailsync-listen..*" what) (test-log))))
          (test-deliver root)
          (test-wait (lambda () (test-changed "INBOX" 'new)))))
      (ignore socket))))

(ert-deftest mailsync-listen-leaves-nothing ()
  "Starting and stopping a hundred times leaves no thread, descriptor or file."
  (skip-unless (file-directory-p "/proc/self/fd"))
  (listen-test-with socket
    (let* ((mailsync-listen socket)
           (count (lambda () (length (directory-files "/proc/self/fd" nil "\\`[0-9]"))))
           (before nil))
      (dotimes (_ 100)
        (test-with-mailsync '("") nil
          (unless before
            (test-wait (lambda () (file-exists-p socket)))))
        (unless before
          (setq before (funcall count))))
      (should (equal (funcall count) before))
      (should-not (directory-files directory nil "socket")))))

(provide 'mailsync-listen-test)
;;; mailsync-listen-test.el ends here
