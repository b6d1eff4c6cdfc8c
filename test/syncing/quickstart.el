;;; quickstart.el --- The Emacs of somebody who has typed a quick start  -*- lexical-binding: t -*-

;;; Commentary:

;; Loaded by quickstart.py in an `emacs -Q' whose HOME has what a quick start of README.org
;; says, `.gnus.el' among it: that is read by Gnus.

;;; Code:

(load (expand-file-name "../e2e/lib" (file-name-directory load-file-name)) nil t)
(declare-function e2e-begin "../e2e/lib")
(declare-function e2e-say "../e2e/lib")
(declare-function gnus-group-list-groups "gnus-group")

(defun quickstart ()
  "Start Gnus, as the user does."
  (load (getenv "SYNC_INIT") nil t)
  (with-eval-after-load 'mailsync
    (add-hook 'mailsync-after-sync-functions
              (lambda (_ result)
                (e2e-say "ends" (plist-get result :status) (plist-get result :text))))
    (add-hook 'mailsync-state-change-functions (lambda (_ state) (e2e-say "state" state))))
  ;; After `emacs -Q' Gnus would not read .gnus.el.
  (setq init-file-user "")
  (gnus)
  (e2e-say "gnus"))

(defun quickstart-group (name)
  "What the line of the group NAME in the *Group* buffer says."
  (with-current-buffer "*Group*"
    (save-excursion
      (goto-char (point-min))
      (if (re-search-forward (format "^.*: *%s *$" (regexp-quote name)) nil t)
          (match-string 0)
        ""))))

(e2e-begin #'quickstart)

(provide 'quickstart)
;;; quickstart.el ends here
