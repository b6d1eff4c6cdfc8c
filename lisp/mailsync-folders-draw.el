;;; mailsync-folders-draw.el --- Write the list of folders in pieces, or a few of its rows  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; There may be thousands of folders: many rows are written in pieces, apart
;; from the buffer, and put into it when they are all there; what is news of a few
;; changes only their rows.  When that is done is mailsync-folders.el's business.

;;; Code:

(eval-when-compile (require 'cl-lib))
(require 'subr-x)
(require 'tabulated-list)
(require 'mailsync-folders-rows)
(require 'mailsync-list)

;;;; Internal variables

(cl-defstruct (mailsync-folders-work
               (:copier nil)
               (:constructor mailsync-folders--make-work (rows order)))
  "A list that is being written.
ROWS are those whose columns are not looked at yet, ENTRIES the others, the
last one first; LINES are those to be written into the buffer TEXT, once all
are sorted.  ORDER is `tabulated-list-sort-key' as it was at the beginning, or t
if the rows are in their order."
  rows order entries lines text
  (key tabulated-list-sort-key)
  (times (make-hash-table :test #'eql)))

(defconst mailsync-folders--period 1
  "The buffers are brought up to date once in so many seconds at most.")

(defconst mailsync-folders--slice 0.008
  "Rows are written for so many seconds at once at most.")

(defconst mailsync-folders--pause 0.003
  "After so many seconds the next ones are; meanwhile keys are seen to.")

(defvar-local mailsync-folders--work nil
  "What is being written to become this buffer's text, or nil.")

(defvar-local mailsync-folders--work-timer nil
  "The timer that goes on with it, or nil.")

;;;; Written in pieces

(defun mailsync-folders--begin (rows order)
  "Begin to write ROWS, which this buffer will show when that is done.
They are sorted as the user has said, or stay as they are if ORDER is non-nil."
  (mailsync-folders--forget)
  (setq mailsync-folders--work (mailsync-folders--make-work rows order))
  (add-hook 'kill-buffer-hook #'mailsync-folders--forget nil t)
  (mailsync-folders--go-on (current-buffer)))

(defun mailsync-folders--forget ()
  "Give up what is being written for this buffer."
  (when (timerp mailsync-folders--work-timer)
    (cancel-timer mailsync-folders--work-timer))
  (when mailsync-folders--work
    (let ((text (mailsync-folders-work-text mailsync-folders--work)))
      (when (buffer-live-p text)
        (kill-buffer text))))
  (setq mailsync-folders--work-timer nil
        mailsync-folders--work nil))

(defun mailsync-folders--go-on (buffer)
  "Go on with what is being written for BUFFER, for a moment."
  (when (buffer-live-p buffer)
    (with-current-buffer buffer
      (setq mailsync-folders--work-timer nil)
      (when mailsync-folders--work
        (mailsync-folders--do-some (+ (float-time) mailsync-folders--slice))
        (when (and mailsync-folders--work (not mailsync-folders--work-timer))
          (setq mailsync-folders--work-timer
                (run-at-time (if (bound-and-true-p isearch-mode)
                                 mailsync-folders--period
                               mailsync-folders--pause)
                             nil #'mailsync-folders--go-on buffer)))))))

(defun mailsync-folders--finish ()
  "Finish at once what is being written for this buffer."
  (while mailsync-folders--work
    (mailsync-folders--do-some 1.0e+INF)))

(defun mailsync-folders--do-some (end)
  "Go on with what is being written for this buffer, until END at most."
  (let ((work mailsync-folders--work))
    (cond
     ((mailsync-folders-work-rows work)
      (mailsync-folders--look-at-rows work end))
     ((null (mailsync-folders-work-text work))
      (mailsync-folders--sort work)))
    (when (mailsync-folders-work-text work)
      (mailsync-folders--write-lines work end)
      (cond
       ((mailsync-folders-work-lines work))
       ;; It would lose its way.
       ((bound-and-true-p isearch-mode))
       ;; The user has sorted what is shown meanwhile.
       ((not (eq (mailsync-folders-work-key work) tabulated-list-sort-key))
        (mailsync-folders--begin
         (mapcar (lambda (entry) (gethash (car entry) mailsync-folders--rows))
                 (mailsync-folders-work-entries work))
         nil))
       (t
        (mailsync-folders--show work)
        (mailsync-folders--forget))))))

(defun mailsync-folders--look-at-rows (work end)
  "See what the columns of WORK's rows say, until END at most."
  (let ((mailsync-folders--times (mailsync-folders-work-times work))
        (rows (mailsync-folders-work-rows work))
        (entries (mailsync-folders-work-entries work))
        (now 0.0))
    (while (and rows (< now end))
      ;; To ask for the time costs something, too.
      (dotimes (_ 10)
        (when-let ((row (pop rows)))
          (let ((key (mailsync-folders--key row)))
            ;; What comes from now on is news.
            (remhash key mailsync-folders--news)
            (push (setf (mailsync-folders-row-entry row)
                        (list key (mailsync-folders--columns row)))
                  entries))))
      (setq now (float-time)))
    (setf (mailsync-folders-work-rows work) rows
          (mailsync-folders-work-entries work) entries)
    (when (and (null rows) (< now end))
      (mailsync-folders--sort work))))

(defun mailsync-folders--sort (work)
  "Sort WORK, the columns of which are known."
  (let ((sorter (and (not (mailsync-folders-work-order work))
                     (tabulated-list--get-sorter)))
        (entries (nreverse (mailsync-folders-work-entries work))))
    (when sorter
      (setq entries (sort entries sorter)))
    (setf (mailsync-folders-work-entries work) entries
          (mailsync-folders-work-lines work) entries
          (mailsync-folders-work-text work)
          (generate-new-buffer " *mailsync-folders*"))))

(defun mailsync-folders--write-lines (work end)
  "Write lines of WORK, until END at most."
  (let ((format tabulated-list-format)
        (line mailsync-list--line)
        (lines (mailsync-folders-work-lines work))
        ;; A few in any case, however late it is.
        (now 0.0)
        (inhibit-modification-hooks t))
    (with-current-buffer (mailsync-folders-work-text work)
      (while (and lines (< now end))
        (dotimes (_ 10)
          (when-let ((entry (pop lines)))
            (mailsync-list--write (car entry) (cadr entry) format line)))
        (setq now (float-time))))
    (setf (mailsync-folders-work-lines work) lines)))

(defun mailsync-folders--show (work)
  "Show WORK, which is written; point and windows stay at their lines."
  (let* ((inhibit-read-only t)
         (windows (get-buffer-window-list nil nil t))
         (place (mailsync-folders--place-at (point)))
         (mark (and (mark t) (mailsync-folders--place-at (mark t))))
         (places (mapcar (lambda (window)
                           (list window
                                 (mailsync-folders--place-at
                                  (window-point window))
                                 (mailsync-folders--place-at
                                  (window-start window))))
                         windows)))
    ;; To copy it would cost more than to have written it.
    (buffer-swap-text (mailsync-folders-work-text work))
    (set-buffer-modified-p nil)
    (setq tabulated-list-entries (mailsync-folders-work-entries work)
          mode-line-process (format ": %s%d folders"
                                    (if mailsync-folders--account
                                        (concat mailsync-folders--account ", ")
                                      "")
                                    (length tabulated-list-entries)))
    (when mark
      (set-marker (mark-marker) (mailsync-folders--place-again mark)))
    (pcase-dolist (`(,window ,point ,start) places)
      (set-window-point window (mailsync-folders--place-again point))
      (set-window-start window (mailsync-folders--place-again start) t))
    (goto-char (mailsync-folders--place-again place))))

(defun mailsync-folders--place-at (position)
  "Where POSITION is: (ID LINE COLUMN)."
  (save-excursion
    (goto-char position)
    (list (get-text-property position 'tabulated-list-id)
          (line-number-at-pos)
          (- position (line-beginning-position)))))

(defun mailsync-folders--place-again (place)
  "The position of PLACE now; that of its line, if its folder is gone."
  (pcase-let ((`(,id ,line ,column) place))
    (save-excursion
      (let* ((row (and id (gethash id mailsync-folders--rows)))
             (found (and row (text-property-any
                              (point-min) (point-max) 'tabulated-list-id
                              (mailsync-folders--key row)))))
        (if found
            (goto-char found)
          (goto-char (point-min))
          (forward-line (1- line)))
        (min (+ (point) column) (line-end-position))))))

;;;; A few rows

(defun mailsync-folders--update-rows (keys)
  "Write the rows of KEYS anew, those of a hash table, if they say something else.
KEYS is empty then."
  (let ((mailsync-folders--times (make-hash-table :test #'eql))
        (inhibit-read-only t)
        (inhibit-modification-hooks t)
        (points (mapcar (lambda (window) (cons window (window-point window)))
                        (get-buffer-window-list nil nil t)))
        (here (point))
        (position (point-min)))
    (while (and position (< position (point-max))
                (not (zerop (hash-table-count keys))))
      (let* ((key (get-text-property position 'tabulated-list-id))
             (row (and key (gethash key keys)
                       (gethash key mailsync-folders--rows))))
        (when row
          (remhash key keys)
          (let ((columns (mailsync-folders--columns row)))
            (unless (equal-including-properties
                     columns (cadr (mailsync-folders-row-entry row)))
              (setf (cadr (mailsync-folders-row-entry row)) columns)
              (goto-char position)
              (let ((old (line-beginning-position 2)))
                (delete-region position old)
                (mailsync-list--print key columns)
                ;; All columns but the last one are as wide as they were.
                (let ((longer (- (point) old)))
                  (dolist (it points)
                    (when (>= (cdr it) old)
                      (setcdr it (+ (cdr it) longer))))
                  (when (>= here old)
                    (setq here (+ here longer))))))))
        (setq position (next-single-property-change position
                                                    'tabulated-list-id))))
    ;; What is in no row any more.
    (clrhash keys)
    (set-buffer-modified-p nil)
    (goto-char (min here (point-max)))
    (pcase-dolist (`(,window . ,point) points)
      (set-window-point window point))))

(provide 'mailsync-folders-draw)
;;; mailsync-folders-draw.el ends here
