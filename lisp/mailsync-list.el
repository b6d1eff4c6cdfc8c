;;; mailsync-list.el --- What the lists of folders and of changes have in common  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Their major mode with its keys, how a line of theirs is written, and what is
;; found out about the line at point.  A line is of a folder, and its ID the key
;; of a row (mailsync-folders-rows.el), or of a change, and its ID a story
;; (mailsync-history.el).  The lists themselves are in mailsync-folders.el and
;; mailsync-history-list.el.

;;; Code:

(require 'subr-x)
(require 'tabulated-list)
(require 'mailsync-folders-rows)
(require 'mailsync-history)
(require 'mailsync-log)
(require 'mailsync-status-acts)

;;;; Declarations

(declare-function mailsync-folders-refresh-soon "mailsync-folders"
                  (&optional seconds))

;;;; The mode

(defvar mailsync-list-mode-map
  (let ((map (make-sparse-keymap)))
    ;; Those of `tabulated-list-mode' come after ours.
    (set-keymap-parent map (make-composed-keymap mailsync-status-acts-map
                                                 tabulated-list-mode-map))
    (define-key map (kbd "RET") #'mailsync-status-visit)
    (define-key map [remap tabulated-list-sort] #'mailsync-list-sort)
    map)
  "Keymap of mailsync's lists.")

(define-derived-mode mailsync-list-mode tabulated-list-mode "Mailsync-List"
  "Parent of the major modes of mailsync's lists.

\\{mailsync-list-mode-map}"
  (buffer-disable-undo)
  (setq tabulated-list-padding 0)
  (setq-local truncate-lines t)
  (setq-local tabulated-list-printer #'mailsync-list--print)
  (setq-local mailsync-status-folder-function #'mailsync-list--here)
  (setq-local imenu-create-index-function #'mailsync-list--imenu)
  ;; While no window showed it, it stayed as it was.
  (add-hook 'window-buffer-change-functions
            (lambda (_) (mailsync-folders-refresh-soon)) nil t))

(defun mailsync-list-sort (&optional number)
  "Sort by the column at point; with NUMBER, a prefix argument, by that one.
They are counted from 0.  What is sorted by it already is reversed."
  (interactive "P")
  ;; It looks for a property that lines which are written at once do not have.
  (tabulated-list-sort
   (or number
       (let ((end 0) (index -1))
         (while (and (< (1+ index) (length tabulated-list-format))
                     (<= end (current-column)))
           (setq index (1+ index)
                 end (+ end 1 (nth 1 (aref tabulated-list-format index)))))
         index))))

;;;; Lines

(defvar-local mailsync-list--line nil
  "How a line of this buffer is put together: a format for all columns.")

(defun mailsync-list--set-format (columns)
  "This buffer has COLUMNS, as `tabulated-list-format' has them."
  (setq tabulated-list-format columns
        mailsync-list--line
        (concat (mapconcat (lambda (column) (format "%%-%ds " (nth 1 column)))
                           (butlast (append columns nil)) "")
                "%s\n"))
  (tabulated-list-init-header))

(defconst mailsync-list--odd (concat "[\n\t]\\|" mailsync-log-unseen)
  "What must not be in a column, a regular expression.")

(defun mailsync-list--fit (text width)
  "TEXT on one line as it may be shown, cut to WIDTH columns."
  (when (string-match-p mailsync-list--odd text)
    (setq text (replace-regexp-in-string mailsync-list--odd "?" text t t)))
  ;; Most are short, and this is done for thousands of them.
  (if (or (<= (string-bytes text) width) (<= (string-width text) width))
      text
    (truncate-string-to-width text width nil nil "…")))

(defun mailsync-list--print (id columns)
  "Write the line of ID, which says COLUMNS."
  (mailsync-list--write id columns tabulated-list-format
                           mailsync-list--line))

(defun mailsync-list--write (id columns format line)
  "Write the line of ID, which says COLUMNS, by FORMAT and LINE of the list."
  (let ((start (point))
        (cell (lambda (column)
                (mailsync-list--fit (aref columns column)
                                       (nth 1 (aref format column))))))
    ;; A list of them would be garbage; both lists have eight columns.  The
    ;; function pads by columns, not by characters.
    (insert (format line
                    (funcall cell 0) (funcall cell 1) (funcall cell 2)
                    (funcall cell 3) (funcall cell 4) (funcall cell 5)
                    (funcall cell 6)
                    (mailsync-list--fit (aref columns 7) 1000)))
    ;; What all lines of an account have is said by a symbol, once.
    (add-text-properties
     start (point)
     (list 'tabulated-list-id id
           'category (mailsync-list--category
                      (mailsync-list--account-of id))))))

(defvar mailsync-list--categories (make-hash-table :test #'equal)
  "Hash table from accounts to symbols whose properties their lines have.")

(defun mailsync-list--category (account)
  "The symbol whose properties the lines of ACCOUNT have."
  (or (gethash account mailsync-list--categories)
      (let ((symbol (make-symbol "mailsync-folders-line")))
        (put symbol 'mailsync-account account)
        (put symbol 'help-echo #'mailsync-list--help)
        (puthash account symbol mailsync-list--categories))))

(defun mailsync-list--account-of (id)
  "The account of the line of ID."
  (if (consp id) (car id) (mailsync-history-story-account id)))

(defun mailsync-list--wide (columns)
  "How wide the first of a list's columns may be, of which COLUMNS are fixed."
  (let ((window (or (get-buffer-window (current-buffer) t) (selected-window))))
    (max 12 (min 60 (- (window-body-width window) columns)))))

(defun mailsync-list--reprint ()
  "Write the entries of this buffer; point and windows stay at their lines."
  (let ((starts (mapcar (lambda (window)
                          (cons window
                                (get-text-property (window-start window)
                                                   'tabulated-list-id)))
                        (get-buffer-window-list nil nil t))))
    (tabulated-list-print t)
    (pcase-dolist (`(,window . ,id) starts)
      (when-let ((position (and id (text-property-any
                                    (point-min) (point-max)
                                    'tabulated-list-id id))))
        (set-window-start window position t)))))

;;;; The line at point

(defun mailsync-list--here ()
  "The folder of the line of point, a plist as a change is, or nil."
  (let ((id (get-text-property (point) 'tabulated-list-id)))
    (cond
     ((null id) nil)
     ((consp id)
      ;; One that is gone stays until the list is written anew.
      (when-let ((row (gethash id mailsync-folders--rows)))
        (mailsync-folders--place row)))
     ((mailsync-history-story-folder id)
      (list :account (mailsync-history-story-account id)
            :folder (mailsync-history-story-folder id)
            :directory (mailsync-history-story-directory id)
            :truename (mailsync-history-story-truename id))))))

(defun mailsync-list--help (_window buffer position)
  "All that is known of the line at POSITION of BUFFER, for the mouse."
  (when (bufferp buffer)
    (with-current-buffer buffer
      (let ((id (get-text-property position 'tabulated-list-id)))
        (mailsync-log-help
         (if (not (consp id))
             (mailsync-history-tell id)
           (when-let ((row (gethash id mailsync-folders--rows)))
             (mailsync-folders--say row))))))))

(defun mailsync-list--imenu ()
  "An index of the lines of this buffer."
  (let (index)
    (save-excursion
      (goto-char (point-min))
      (while (not (eobp))
        (when-let ((folder (mailsync-status-folder-here)))
          (push (cons (if (or mailsync-folders--account
                              (mailsync-history-story-p
                               (get-text-property (point) 'tabulated-list-id)))
                          (plist-get folder :folder)
                        (concat (plist-get folder :account) " "
                                (plist-get folder :folder)))
                      (point))
                index))
        (forward-line)))
    (nreverse index)))

(provide 'mailsync-list)
;;; mailsync-list.el ends here
