;;; screens.el --- mailsync's buffers on a terminal  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded into the Emacs that test/e2e/screens.sh starts: one account with a
;; syncer, folders and a server, and the status on the screen.

;;; Code:

(load (expand-file-name "lib.el" (file-name-directory load-file-name)) nil t)
(require 'mailsync)

(defvar screens-root (expand-file-name "mail" e2e-work))

(defun screens-start ()
  "Watch, and show the status."
  (setq mailsync-coalesce-delay 0.05
        mailsync-base-delay 0.1
        mailsync-inter-delay 0.1
        mailsync-sync-at-start nil
        mailsync-accounts
        `(("work" :maildir ,screens-root
           :syncer (mailsync-command ,(expand-file-name "syncer" e2e-work) "%f")
           :remote (watcher ,(expand-file-name "watcher" e2e-work)
                            "-o" "BatchMode=yes" "-o" "ServerAliveInterval=15"
                            "mail.example.org" "mailsync-watch"))
          ("other" :maildir ,(expand-file-name "other" e2e-work))))
  (mailsync-mode 1)
  (setq-default mode-line-process '("" mailsync-mode-line))
  (mailsync-status)
  (delete-other-windows))

(e2e-begin #'screens-start)

;;; screens.el ends here
