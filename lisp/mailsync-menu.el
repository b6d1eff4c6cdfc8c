;;; mailsync-menu.el --- mailsync's commands in a menu and a keymap  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The menu is in the menu bar of *Group* (mailsync-gnus.el puts it there) and
;; under the state in the mode line.  `mailsync-command-map' is bound to no key;
;; bind it where you like:
;;
;;     (global-set-key (kbd "C-c m") 'mailsync-command-map)

;;; Code:

(require 'easymenu)

;;;; Declarations

(defvar mailsync-mode)

;;;; Code

;;;###autoload (autoload 'mailsync-command-map "mailsync-menu" nil nil 'keymap)
(defvar mailsync-command-map
  (let ((map (make-sparse-keymap)))
    (pcase-dolist (`(,key . ,command)
                   '(("C" . mailsync-doctor)
                     ("c" . mailsync-check)
                     ("f" . mailsync-folders)
                     ("h" . mailsync-history)
                     ("l" . mailsync-log)
                     ("m" . mailsync-status)
                     ("o" . mailsync-output)
                     ("p" . mailsync-pause)
                     ("r" . mailsync-resume)
                     ("R" . mailsync-restart)
                     ("s" . mailsync-sync)
                     ("t" . mailsync-mode)
                     ("w" . mailsync-log-copy)))
      (define-key map key command))
    map)
  "Keymap of mailsync's commands, to be bound to a prefix key.")
(fset 'mailsync-command-map mailsync-command-map)

(easy-menu-define mailsync-menu nil
  "Menu of mailsync."
  '("Mailsync"
    ["Status" mailsync-status
     :help "How it is going: accounts, stores, folders"]
    ["Folders" mailsync-folders :active (bound-and-true-p mailsync-mode)
     :help "All folders, with what they wait for"]
    ["History" mailsync-history
     :help "The last changes, and what became of them"]
    ["Log" mailsync-log
     :help "What mailsync did and what went wrong"]
    "---"
    ["Sync..." mailsync-sync :active (bound-and-true-p mailsync-mode)
     :help "Sync an account, or one of its folders, now"]
    ["Sync everything" (mailsync-sync nil nil t)
     :active (bound-and-true-p mailsync-mode)]
    ["Check everything" mailsync-check
     :active (bound-and-true-p mailsync-mode)
     :help "Have Gnus check every folder now"]
    ["Pause syncs" mailsync-pause :active (bound-and-true-p mailsync-mode)
     :help "Let no sync start"]
    ["Resume syncs" mailsync-resume :active (bound-and-true-p mailsync-mode)
     :help "Let syncs start again, and watch servers that were given up"]
    ["What a syncer printed..." mailsync-output
     :active (bound-and-true-p mailsync-mode)]
    "---"
    ["Watch" mailsync-mode
     :style toggle :selected (bound-and-true-p mailsync-mode)]
    ["Restart" mailsync-restart
     :help "Go over to the configuration as it is now"]
    "---"
    ["Find what is wrong" mailsync-doctor
     :visible (fboundp 'mailsync-doctor)]
    ["Set up accounts" mailsync-setup
     :visible (fboundp 'mailsync-setup)]
    ["Copy a report of a bug" mailsync-log-copy
     :help "Versions, options, status and log, without names"]
    ["Customize" (customize-group 'mailsync)]
    ["Manual" (browse-url "https://github.com/mailsync/mailsync")]))

(defun mailsync-menu-popup (event)
  "Show the menu of mailsync where EVENT, a click, is."
  (interactive "@e")
  (popup-menu mailsync-menu event))

(provide 'mailsync-menu)
;;; mailsync-menu.el ends here
