;;; mailsync-history-list.el --- The list of the last changes  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer that `mailsync-history' shows: the last changes, which
;; mailsync-history.el keeps, and what became of them.  mailsync-folders.el
;; brings it up to date, together with the list of folders.

;;; Code:

(require 'tabulated-list)
(require 'mailsync-folders)
(require 'mailsync-history)
(require 'mailsync-list)

;;;; The mode

(defvar mailsync-history-mode-map
  (let ((map (make-composed-keymap nil mailsync-list-mode-map)))
    (define-key map (kbd "RET") #'mailsync-history-say)
    (define-key map "w" #'mailsync-history-copy)
    map)
  "Keymap of the list of changes.")

(define-derived-mode mailsync-history-mode mailsync-list-mode "Mailsync-History"
  "Major mode of the list of the last changes, and of what became of them.
The columns after the time say who changed what, and how many seconds later
Gnus was told, the check was done, and the sync.  What the syncer has written
itself needs no sync; a folder that was only looked at says \"anything\".

\\{mailsync-history-mode-map}"
  (setq tabulated-list-sort-key nil)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-history-list--fill))))

;;;###autoload
(defun mailsync-history ()
  "Show the last changes with their whole story: seen, told, checked, synced.
While it is shown it is kept up to date."
  (interactive)
  (pop-to-buffer (get-buffer-create mailsync-folders--history))
  (unless (derived-mode-p 'mailsync-history-mode)
    (mailsync-history-mode))
  (mailsync-history-list--fill))

;;;; Its lines

(defun mailsync-history-list--fill ()
  "Write the last changes into this buffer."
  (mailsync-list--set-format
   (vector (list "Seen" 12 t)
                (list "Folder" (mailsync-list--wide 65) t)
                (list "Account" 8 t)
                (list "What" 10 t)
                (list "By" 6 t)
                (list "Told" 6 nil)
                (list "Checked" 8 nil)
                (list "Synced" 6 nil)))
  (setq tabulated-list-entries
        (mapcar (lambda (story)
                  (list story (mailsync-history-list--columns story)))
                (mailsync-history-stories)))
  (mailsync-list--reprint))

(defun mailsync-history-list--after (story time)
  "How many seconds after STORY was noticed TIME came, \"\" for nil."
  (if time
      (format "+%.2f" (max 0 (- time (mailsync-history-story-seen story))))
    ""))

(defun mailsync-history-list--columns (story)
  "What the columns of STORY say, a vector of strings."
  (let ((checked (mailsync-history-list--after
                  story (mailsync-history-story-checked story)))
        (result (mailsync-history-story-result story))
        (status (mailsync-history-story-status story)))
    (vector
     (mailsync-history-clock (mailsync-history-story-seen story) t)
     (or (mailsync-history-story-folder story)
         (mailsync-history-many (mailsync-history-story-count story)))
     (mailsync-history-story-account story)
     (mailsync-history-kinds (mailsync-history-story-kinds story))
     (mailsync-history-origins (mailsync-history-story-origins story))
     (mailsync-history-list--after story (mailsync-history-story-told story))
     (cond
      ((equal checked "") "waits")
      ((memq result '(nil checked)) checked)
      ((eq result 'failed) (propertize "failed" 'face 'mailsync-trouble))
      (t (mailsync-history-result result)))
     (cond
      ((mailsync-history-story-synced story)
       (mailsync-history-list--after story (mailsync-history-story-synced story)))
      (status (propertize (symbol-name status) 'face 'mailsync-trouble))
      (t "")))))

;;;; Commands

(defun mailsync-history--story-here ()
  "The story at point."
  (let ((story (tabulated-list-get-id)))
    (unless (mailsync-history-story-p story)
      (user-error "There is no change at point"))
    story))

(defun mailsync-history-say ()
  "Say the story of the change at point in full, in the echo area."
  (interactive)
  (message "%s" (mailsync-history-tell (mailsync-history--story-here))))

(defun mailsync-history-copy ()
  "Put the story of the change at point on the kill ring, as a sentence."
  (interactive)
  (kill-new (mailsync-history-tell (mailsync-history--story-here)))
  (mailsync-history-say))

(provide 'mailsync-history-list)
;;; mailsync-history-list.el ends here
