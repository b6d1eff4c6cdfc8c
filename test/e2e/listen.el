;;; listen.el --- The Emacs on a server that splits  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by listen.sh.  Its Gnus fetches from the inbox and splits into folders beside it; the checks of
;; folders in `listen-held' are held until `listen-release'.

;;; Code:

(require 'gnus)
(require 'gnus-group)
(load (expand-file-name "lib" (file-name-directory load-file-name)) nil t)

(defvar mail-sources)
(defvar mailsync-gnus-max-wait)
(defvar nnmail-split-methods)

(defvar listen-held nil "Folders whose checks are held; t for all.")

(defvar listen-waiting nil "Arguments of the checks that are held.")

(defun listen-check (account changes done)
  "Check the CHANGES of ACCOUNT, unless that is held; call DONE."
  (dolist (change changes)
    (e2e-say "changed" (plist-get change :folder) (plist-get change :kinds)))
  (if (seq-find (lambda (change)
                  (or (eq listen-held t) (member (plist-get change :folder) listen-held)))
                changes)
      (push (list account changes done) listen-waiting)
    (mailsync-check-by-gnus account changes
                            (lambda (results &optional brought)
                              (dolist (result results)
                                (e2e-say "checked" (car result) (cdr result)))
                              (funcall done results brought)))))

(defun listen-release ()
  "Do the checks that were held."
  (setq listen-held nil)
  (dolist (args (prog1 (nreverse listen-waiting)
                  (setq listen-waiting nil)))
    (apply #'listen-check args)))

(defun listen-get-stuck ()
  "Do nothing else until the script says so, and no check before."
  (setq listen-held t)
  (e2e-say "stuck")
  (while (not (file-exists-p (concat e2e-work "go-on")))
    (sleep-for 0.05))
  (delete-file (concat e2e-work "go-on"))
  (listen-release))

(defun listen-start ()
  "Start mailsync and Gnus."
  (load (expand-file-name "gnus-init" (getenv "FIXTURES")) nil t)
  (let ((split '(("lists" "^Subject:.*list"))))
    (if (getenv "GNUS_NNIMAP")
        (setq gnus-secondary-select-methods
              (mapcar (lambda (server)
                        (append server `((nnimap-inbox "INBOX") (nnimap-split-methods ,split))))
                      gnus-secondary-select-methods))
      (setq gnus-secondary-select-methods
            `((nnmaildir "fix" (directory ,(getenv "GNUS_NNMAILDIR")) (get-new-mail t)))
            mail-sources `((maildir :path ,(concat e2e-work "mail") :subdirs ("new")))
            nnmail-split-methods (append split '(("misc" ""))))))
  (require 'mailsync)
  (setq mailsync-accounts `(("e2e" :maildir ,(concat e2e-work "mail")))
        mailsync-listen (concat e2e-work "run/listen")
        ;; Both for Gnus's checks on a busy machine, and for the script to wait until it is over.
        mailsync-check-timeout 8
        mailsync-check-function #'listen-check
        mailsync-gnus-max-wait 2)
  (apply #'fixture-start (split-string (getenv "E2E_GROUPS") "\n" t))
  (mailsync-mode 1))

(e2e-begin #'listen-start)

(provide 'listen)
;;; listen.el ends here
