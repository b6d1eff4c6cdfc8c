;;; mailsync.el --- Realtime mail for Gnus that never makes you wait  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; Author: The mailsync authors
;; Version: 0.1.0
;; Package-Requires: ((emacs "28.1"))
;; Keywords: mail, news
;; URL: https://github.com/mailsync/mailsync
;; SPDX-License-Identifier: GPL-3.0-or-later

;; This program is free software; you can redistribute it and/or modify
;; it under the terms of the GNU General Public License as published by
;; the Free Software Foundation, either version 3 of the License, or
;; (at your option) any later version.

;; This program is distributed in the hope that it will be useful,
;; but WITHOUT ANY WARRANTY; without even the implied warranty of
;; MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
;; GNU General Public License for more details.

;; You should have received a copy of the GNU General Public License
;; along with this program.  If not, see <https://www.gnu.org/licenses/>.

;;; Commentary:

;; A message is renamed into a Maildir; a background thread of the module
;; sees it and tells, through a pipe, which folder changed; Gnus looks at just
;; that group, when it does not disturb.  Put this into .gnus.el:
;;
;;     (require 'mailsync)
;;     (mailsync-mode 1)
;;
;; and see README.org.  This file has the mode, and says where the commands are.
;; What it loads is in every init file, and so it is little: the options
;; (mailsync-options.el) and the menu.  The rest comes with `mailsync-mode'
;; (mailsync-life.el), or with a command.  The way of a change from the pipe to
;; the hooks is mailsync-dispatch.el's business, what a check is,
;; mailsync-gnus.el's.

;;; Code:

(require 'mailsync-options)
(require 'mailsync-menu)

;;;; Declarations

;; Where no package manager does it.
(autoload 'mailsync-check "mailsync-life" nil t)
(autoload 'mailsync-command "mailsync-syncers")
(autoload 'mailsync-doctor "mailsync-doctor" nil t)
(autoload 'mailsync-folders "mailsync-folders" nil t)
(autoload 'mailsync-gnus-check "mailsync-gnus" nil t)
(autoload 'mailsync-history "mailsync-folders" nil t)
(autoload 'mailsync-log "mailsync-log" nil t)
(autoload 'mailsync-log-copy "mailsync-report" nil t)
(autoload 'mailsync-mbsync "mailsync-syncers")
(autoload 'mailsync-module-compile "mailsync-module" nil t)
(autoload 'mailsync-notify-desktop "mailsync-notify-desktop")
(autoload 'mailsync-notify-echo "mailsync-notify")
(autoload 'mailsync-offlineimap "mailsync-syncers")
(autoload 'mailsync-output "mailsync-sync-say" nil t)
(autoload 'mailsync-pause "mailsync-sync" nil t)
(autoload 'mailsync-restart "mailsync-life" nil t)
(autoload 'mailsync-resume "mailsync-sync" nil t)
(autoload 'mailsync-run "mailsync-sync")
(autoload 'mailsync-setup "mailsync-setup" nil t)
(autoload 'mailsync-status "mailsync-status" nil t)
(autoload 'mailsync-sync "mailsync-sync" nil t)
(autoload 'mailsync-version "mailsync-module" nil t)
(autoload 'mailsync-worker "mailsync-syncers")
(autoload 'mailsync/gnus-check "mailsync-gnus" nil t)
(autoload 'mailsync/gnus-check-handler "mailsync-gnus" nil t)

(defvar mailsync--watching)
(declare-function mailsync--meet-gnus "mailsync-life" ())
(declare-function mailsync--start "mailsync-life" ())
(declare-function mailsync--stop "mailsync-life" ())
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))

;;;; The mode

;;;###autoload
(define-minor-mode mailsync-mode
  "Watch the Maildirs of `mailsync-accounts' and keep Gnus up to date.
`mailsync-status' shows how it is going, `mailsync-log' what happened."
  :global t
  :group 'mailsync
  (cond
   ((not mailsync-mode)
    (when (featurep 'mailsync-life)
      (mailsync--stop)))
   ;; Gnus reads .gnus.el, and so turns this on, each time it starts.
   ((bound-and-true-p mailsync--watching)
    (mailsync--meet-gnus))
   (t
    (condition-case err
        (progn
          (require 'mailsync-life)
          (mailsync--start))
      ((error quit)
       (setq mailsync-mode nil)
       (when (featurep 'mailsync-life)
         (mailsync--stop)
         (mailsync-log-add 'error "not started: %s" (error-message-string err)))
       (signal (car err) (cdr err)))))))

;;;###autoload
(defun mailsync-start ()
  "Start watching; nothing happens if it is on already."
  (interactive)
  (unless mailsync-mode
    (mailsync-mode 1)))

;;;###autoload
(defun mailsync-stop ()
  "Stop watching; nothing happens if it is off already."
  (interactive)
  (when mailsync-mode
    (mailsync-mode -1)))

(provide 'mailsync)
;;; mailsync.el ends here
