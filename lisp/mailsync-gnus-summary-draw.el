;;; mailsync-gnus-summary-draw.el --- Draw an open Summary anew, and put everything back  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; New articles are noted in the data of a *Summary*
;; (`mailsync-gnus--summary-note'); then it is drawn anew, and point, windows,
;; hidden threads and the limit are put back to where they were
;; (`mailsync-gnus--summary-draw').  When, and which articles, is
;; mailsync-gnus-summary.el's business.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-ranges)
(require 'mailsync-gnus-summary-flags)

;;;; Declarations

(defvar gnus-agent)
(defvar gnus-newsgroup-active)
(defvar gnus-newsgroup-ancient)
(defvar gnus-newsgroup-articles)
(defvar gnus-newsgroup-begin)
(defvar gnus-newsgroup-data)
(defvar gnus-newsgroup-data-reverse)
(defvar gnus-newsgroup-display)
(defvar gnus-newsgroup-dormant)
(defvar gnus-newsgroup-end)
(defvar gnus-newsgroup-headers)
(defvar gnus-newsgroup-highest)
(defvar gnus-newsgroup-limit)
(defvar gnus-newsgroup-limits)
(defvar gnus-newsgroup-name)
(defvar gnus-newsgroup-selected-overlay)
(defvar gnus-newsgroup-sparse)
(defvar gnus-newsgroup-unreads)
(defvar gnus-newsgroup-unseen)
(defvar gnus-newsgroup-unselected)
(defvar gnus-number)
(defvar gnus-show-threads)
(defvar gnus-summary-mark-below)
(defvar gnus-suppress-duplicates)
(defvar gnus-thread-hide-subtree)
(defvar gnus-use-scoring)

(declare-function gnus-agent-get-undownloaded-list "gnus-agent" ())
(declare-function gnus-article-sort-by-number "gnus-sum" (h1 h2))
(declare-function gnus-dup-suppress-articles "gnus-dup" ())
(declare-function gnus-possibly-score-headers "gnus-score" (&optional trace))
(declare-function gnus-set-mode-line "gnus-sum" (where))
(declare-function gnus-sorted-nunion "gnus-range" (list1 list2))
(declare-function gnus-summary-hide-thread "gnus-sum" ())
(declare-function gnus-summary-prepare "gnus-sum" ())
(declare-function gnus-summary-remove-list-identifiers "gnus-sum" ())
(declare-function mail-header-number "nnheader" (cl-x) t)

;;;; Limits

(defun mailsync-gnus--summary-limited-p (&optional limit)
  "Non-nil if LIMIT, by default the one in force, is the user's.
Gnus itself hides dormant articles, old ones that only show where a
thread begins, and those that the group parameter `display' names."
  (and gnus-newsgroup-limits
       (let ((shown (make-hash-table)))
         (dolist (number (or limit gnus-newsgroup-limit))
           (puthash number t shown))
         (cl-some (lambda (number)
                    (not (or (gethash number shown)
                             (memq number gnus-newsgroup-dormant)
                             (memq number gnus-newsgroup-ancient)
                             (memq number gnus-newsgroup-sparse)
                             (mailsync-gnus--summary-hidden-p number))))
                  (car (last gnus-newsgroup-limits))))))

(defun mailsync-gnus--summary-hidden-p (number)
  "Non-nil if the group parameter `display' hides the article NUMBER."
  (and (functionp gnus-newsgroup-display)
       (let ((gnus-number number))
         (ignore-errors (not (funcall gnus-newsgroup-display))))))

;;;; Its data

(defun mailsync-gnus--summary-note (numbers got headers limited)
  "Note in the data of this Summary that NUMBERS have come.
GOT are those of which HEADERS are, LIMITED says that they are not shown."
  (let ((marked (mailsync-gnus--summary-note-marks got))
        ;; More may have come since; these stay to be inserted.
        (highest (car (last numbers))))
    (setq gnus-newsgroup-headers
          (cl-merge 'list gnus-newsgroup-headers headers
                    #'gnus-article-sort-by-number)
          gnus-newsgroup-articles
          (gnus-sorted-nunion gnus-newsgroup-articles (copy-sequence got))
          ;; What is ticked or dormant is in a list of its own.
          gnus-newsgroup-unreads
          (gnus-sorted-nunion gnus-newsgroup-unreads
                              (seq-difference got marked #'eql))
          gnus-newsgroup-unseen
          (gnus-sorted-nunion (copy-sequence gnus-newsgroup-unseen)
                              (copy-sequence got))
          ;; What is not shown must stay unread when the user leaves.
          gnus-newsgroup-unselected
          (gnus-sorted-nunion (copy-sequence gnus-newsgroup-unselected)
                              (seq-difference numbers got #'eql))
          gnus-newsgroup-active
          (cons (car (mailsync-gnus--active gnus-newsgroup-name)) highest)
          gnus-newsgroup-highest highest
          gnus-newsgroup-begin (mail-header-number
                                (car gnus-newsgroup-headers))
          gnus-newsgroup-end (mail-header-number
                              (car (last gnus-newsgroup-headers))))
    (when gnus-suppress-duplicates
      (gnus-dup-suppress-articles))
    (when gnus-agent
      (gnus-agent-get-undownloaded-list))
    (gnus-summary-remove-list-identifiers)
    (when gnus-use-scoring
      (gnus-possibly-score-headers))
    (mailsync-gnus--summary-widen-limits got limited)))

(defun mailsync-gnus--summary-widen-limits (numbers limited)
  "Let NUMBERS show, unless this Summary is LIMITED: then when it is no more."
  ;; The last one is what the others are compared with.
  (setq gnus-newsgroup-limits
        (mapcar (lambda (limit)
                  (if (and limit (mailsync-gnus--summary-limited-p limit))
                      limit
                    (append numbers limit)))
                gnus-newsgroup-limits))
  (unless limited
    (setq gnus-newsgroup-limit
          (append (seq-difference numbers gnus-newsgroup-dormant #'eql)
                  gnus-newsgroup-limit))))

;;;; Drawing

(defun mailsync-gnus--summary-numbers ()
  "The articles of this Summary's lines, from the first to the last."
  (save-excursion
    (goto-char (point-min))
    (let ((numbers nil))
      (while (not (eobp))
        (push (get-text-property (point) 'gnus-number) numbers)
        (forward-line 1))
      (nreverse numbers))))

(defun mailsync-gnus--summary-sorted-p ()
  "Non-nil if this Summary is as Gnus draws it, not sorted by hand.
How it was sorted nobody knows afterwards; it is left as it is."
  (let ((before (mailsync-gnus--summary-numbers))
        (text (buffer-string))
        (data gnus-newsgroup-data)
        (places (mailsync-gnus--summary-places))
        (hidden (mailsync-gnus--summary-hidden))
        (inhibit-read-only t)
        (deactivate-mark nil))
    (mailsync-gnus--summary-draw)
    (or (equal before (mailsync-gnus--summary-numbers))
        (progn
          (erase-buffer)
          (insert text)
          (setq gnus-newsgroup-data data
                gnus-newsgroup-data-reverse nil)
          (mailsync-gnus--summary-put-back places hidden before)
          nil))))

(defun mailsync-gnus--summary-draw ()
  "Draw this Summary anew, with everything where it was."
  (let ((places (mailsync-gnus--summary-places))
        (hidden (mailsync-gnus--summary-hidden))
        (before (mailsync-gnus--summary-numbers))
        (gnus-summary-mark-below nil)
        (deactivate-mark nil))
    (save-current-buffer
      (gnus-summary-prepare))
    (mailsync-gnus--summary-put-back places hidden before)
    (gnus-set-mode-line 'summary)))

(defun mailsync-gnus--summary-put-back (places hidden before)
  "Put PLACES back, and hide the threads of the articles HIDDEN.
BEFORE are the articles that were shown."
  (mailsync-gnus--summary-hide hidden before)
  (pcase-dolist (`(,function . ,place) places)
    (when-let* ((position (mailsync-gnus--summary-position place)))
      (funcall function position)))
  (set-buffer-modified-p nil))

(defun mailsync-gnus--summary-place (position)
  "What there is at POSITION of this Summary: (ARTICLE . COLUMN)."
  (save-excursion
    (goto-char position)
    (let ((start (line-beginning-position)))
      (cons (get-text-property start 'gnus-number) (- position start)))))

(defun mailsync-gnus--summary-position (place)
  "Where PLACE is now, or nil.  Without an article it is the end."
  (if (null (car place))
      (point-max)
    (when-let* ((start (text-property-any (point-min) (point-max)
                                          'gnus-number (car place))))
      (save-excursion
        (goto-char start)
        (min (+ (line-beginning-position) (cdr place)) (line-end-position))))))

(defun mailsync-gnus--summary-places ()
  "What is to be put back when this Summary was drawn anew.
A list of (FUNCTION . PLACE); the function gets the position."
  (let ((overlay gnus-newsgroup-selected-overlay)
        (mark (mark-marker))
        (places nil))
    (cl-flet ((note (function position)
                (push (cons function (mailsync-gnus--summary-place position))
                      places)))
      (note #'goto-char (point))
      (when (marker-position mark)
        (note (lambda (position) (set-marker mark position)) mark))
      (when (and (markerp overlay-arrow-position)
                 (eq (marker-buffer overlay-arrow-position) (current-buffer)))
        (note (lambda (position) (set-marker overlay-arrow-position position))
              (marker-position overlay-arrow-position)))
      (when (and (overlayp overlay)
                 (eq (overlay-buffer overlay) (current-buffer)))
        (let ((length (- (overlay-end overlay) (overlay-start overlay))))
          (note (lambda (position)
                  (move-overlay overlay position (+ position length)))
                (overlay-start overlay))))
      (dolist (window (get-buffer-window-list nil t t))
        (note (lambda (position) (set-window-point window position))
              (window-point window))
        (note (lambda (position) (set-window-start window position t))
              (window-start window))))
    places))

(defun mailsync-gnus--summary-hidden ()
  "The articles of this Summary whose threads are hidden."
  (save-excursion
    (goto-char (point-min))
    (let ((hidden nil))
      (while (not (eobp))
        (when (and (invisible-p (line-end-position))
                   (not (invisible-p (point))))
          (push (get-text-property (point) 'gnus-number) hidden))
        (forward-line 1))
      hidden)))

(defun mailsync-gnus--summary-hide (hidden before)
  "Hide the threads of the articles HIDDEN again.
Those of articles that are not in BEFORE are hidden if the user
wants all threads to be."
  (when gnus-show-threads
    (save-excursion
      (dolist (number (append hidden
                              (and (eq gnus-thread-hide-subtree t)
                                   (seq-difference
                                    (mailsync-gnus--summary-numbers)
                                    before #'eql))))
        (when-let* ((position (and number
                                   (mailsync-gnus--summary-position
                                    (cons number 0)))))
          (goto-char position)
          (gnus-summary-hide-thread))))))

(provide 'mailsync-gnus-summary-draw)
;;; mailsync-gnus-summary-draw.el ends here
