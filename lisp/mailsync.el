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
(autoload 'mailsync-history "mailsync-history-list" nil t)
(autoload 'mailsync-log "mailsync-log" nil t)
(autoload 'mailsync-log-copy "mailsync-report" nil t)
(autoload 'mailsync-mbsync "mailsync-syncers")
(autoload 'mailsync-module-compile "mailsync-module" nil t)
(autoload 'mailsync-module-load "mailsync-module")
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

(declare-function mailsync--turn "mailsync-life" ())
(declare-function mailsync--undisturbed "mailsync-log" (function &rest args))

;;;; The mode

;;;###autoload
(define-minor-mode mailsync-mode
  "Watch the Maildirs of `mailsync-accounts' and keep Gnus up to date.
`mailsync-status' shows how it is going, `mailsync-log' what happened."
  :global t
  :group 'mailsync
  (when (or mailsync-mode (featurep 'mailsync-life))
    (condition-case err
        (require 'mailsync-life)
      ((error quit)
       (setq mailsync-mode nil)
       (signal (car err) (cdr err))))
    ;; Half started or half stopped it would be neither.
    (mailsync--undisturbed #'mailsync--turn)))

;;;###autoload
(defun mailsync-start ()
  "Start watching; nothing happens if it is on already."
  (interactive)
  (unless mailsync-mode
    (require 'mailsync-life)
    (mailsync--undisturbed #'mailsync-mode 1)))

;;;###autoload
(defun mailsync-stop ()
  "Stop watching; nothing happens if it is off already."
  (interactive)
  (when mailsync-mode
    (mailsync--undisturbed #'mailsync-mode -1)))

(defun mailsync-unload-function ()
  "Stop before this is unloaded: nobody could do so afterwards."
  (mailsync-stop)
  nil)

(provide 'mailsync)
;;; mailsync.el ends here
