;;; mailsync-gnus-summary-flags.el --- What others do to the articles of an open Summary  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When the user leaves a *Summary*, Gnus makes the flags of its articles what
;; they are there.  So what others have done meanwhile, and what has come, is
;; noted in the data of the Summary; nothing of it is drawn.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-ranges)

;;;; Internal variables

(defvar-local mailsync-gnus--summary-flags nil
  "What was read and marked in this group when it was last looked at.
An alist from mark to ranges, `read' being one of them.")

;;;; Declarations

(defvar gnus-article-mark-lists)
(defvar gnus-article-special-mark-lists)
(defvar gnus-newsgroup-active)
(defvar gnus-newsgroup-articles)
(defvar gnus-newsgroup-dormant)
(defvar gnus-newsgroup-name)
(defvar gnus-newsgroup-marked)
(defvar gnus-newsgroup-reads)
(defvar gnus-newsgroup-unexist)
(defvar gnus-newsgroup-unreads)
(defvar gnus-newsgroup-unselected)
(defvar gnus-read-mark)

(declare-function mailsync-gnus--catch-up-left "mailsync-gnus-work" (group))
(declare-function gnus-sorted-nunion "gnus-range" (list1 list2))

;;;; While it is open

(defun mailsync-gnus--summary-entered ()
  "Note which articles of this Summary are read and marked.
For `gnus-select-group-hook'."
  (let ((info (and (stringp gnus-newsgroup-name)
                   (mailsync-gnus--entry gnus-newsgroup-name)
                   (mailsync-gnus--info gnus-newsgroup-name))))
    (setq mailsync-gnus--summary-flags
          (and info
               (copy-tree (cons (cons 'read (mailsync-gnus--info-read info))
                                (mailsync-gnus--info-marks info)))))))

(defun mailsync-gnus--summary-note-flags ()
  "Note in this Summary which flags somebody else has changed.
Nothing is drawn.  But when the user leaves it, Gnus makes the flags
what they are here, and would undo what was done elsewhere."
  (let ((before mailsync-gnus--summary-flags))
    (mailsync-gnus--summary-entered)
    (when before
      (let ((now mailsync-gnus--summary-flags))
        (pcase-dolist (`(,name . ,mark) (cons '(nil . read)
                                              gnus-article-mark-lists))
          (unless (or (assq mark gnus-article-special-mark-lists)
                      (equal (cdr (assq mark before)) (cdr (assq mark now))))
            (pcase-let ((`(,set ,unset)
                         (mailsync-gnus--summary-changes
                          (cdr (assq mark before)) (cdr (assq mark now)))))
              (if name
                  (mailsync-gnus--summary-mark
                   (intern (format "gnus-newsgroup-%s" name)) set unset)
                (mailsync-gnus--summary-note-read set unset)))))
        ;; What is ticked or dormant is not among the unread ones.
        (setq gnus-newsgroup-unreads
              (seq-difference gnus-newsgroup-unreads
                              (append gnus-newsgroup-marked
                                      gnus-newsgroup-dormant)
                              #'eql))))))

(defun mailsync-gnus--summary-note-read (set unset)
  "Note in this Summary that the articles SET are read, and UNSET are not.
Those that it does not show Gnus keeps in a list of its own: what is
in neither list is read when the user leaves it."
  (let* ((shown (lambda (number) (memq number gnus-newsgroup-articles)))
         (set-here (seq-filter shown set))
         (unset-here (seq-filter shown unset)))
    (mailsync-gnus--summary-mark 'gnus-newsgroup-unreads unset-here set-here)
    (mailsync-gnus--summary-mark 'gnus-newsgroup-unselected
                                 (seq-difference unset unset-here #'eql) set)
    (dolist (number set-here)
      (push (cons number gnus-read-mark) gnus-newsgroup-reads))))

(defun mailsync-gnus--summary-changes (before now)
  "The articles that are in NOW but not in BEFORE, and the others.
BEFORE and NOW are ranges; return a list of two lists.  What came
after the Summary was made is not among them."
  (let* ((last (or (cdr gnus-newsgroup-active) 0))
         (old (lambda (number) (<= number last))))
    (list (seq-filter old (mailsync-gnus--range-minus now before))
          (seq-filter old (mailsync-gnus--range-minus before now)))))

(defun mailsync-gnus--summary-mark (variable set unset)
  "Add the articles SET to VARIABLE's, and take UNSET away."
  (when (and (boundp variable) (or set unset))
    (set variable (gnus-sorted-nunion
                   (sort (seq-difference (symbol-value variable) unset #'eql)
                         #'<)
                   (copy-sequence set)))))

(defun mailsync-gnus--summary-note-gone (group)
  "Note in this Summary which messages of GROUP the server has no more.
When the user leaves it, Gnus would take them for unread ones and
never hear of them again."
  (when-let* ((gone (cdr (assq 'unexist (mailsync-gnus--info-marks
                                         (mailsync-gnus--info group))))))
    (setq gnus-newsgroup-unexist (copy-tree gone)
          gnus-newsgroup-unreads
          (seq-remove (lambda (number) (mailsync-gnus--in-range-p number gone))
                      gnus-newsgroup-unreads))))

(defun mailsync-gnus--summary-note-marks (numbers)
  "Take over the marks that NUMBERS have; return those ticked or dormant."
  (let ((info (mailsync-gnus--info gnus-newsgroup-name))
        (set-aside nil))
    (pcase-dolist (`(,name . ,mark) gnus-article-mark-lists)
      (unless (assq mark gnus-article-special-mark-lists)
        (let* ((range (cdr (assq mark (mailsync-gnus--info-marks info))))
               (variable (intern (format "gnus-newsgroup-%s" name)))
               (marked (and range
                            (seq-filter (lambda (number)
                                          (mailsync-gnus--in-range-p number range))
                                        numbers))))
          (when (and marked (boundp variable))
            (set variable (gnus-sorted-nunion
                           (sort (copy-sequence (symbol-value variable)) #'<)
                           (copy-sequence marked)))
            (when (memq mark '(tick dormant))
              (setq set-aside (append marked set-aside)))))))
    set-aside))

;;;; When the user leaves it

(defun mailsync-gnus--summary-leaving ()
  "Note what is known of articles that have come since this Summary was made.
For `gnus-exit-group-hook'.  Whichever of them it does not know would
be unread, whatever somebody else did: Gnus would have the server
take back what another client has read, and count what has gone."
  (when (and gnus-newsgroup-name (mailsync-gnus--entry gnus-newsgroup-name))
    (mailsync-gnus--catch-up-left gnus-newsgroup-name))
  (when-let* ((group gnus-newsgroup-name)
              ((mailsync-gnus--entry group))
              (shown gnus-newsgroup-active)
              (active (mailsync-gnus--active group))
              ((> (cdr active) (cdr shown))))
    (let ((read (mailsync-gnus--info-read (mailsync-gnus--info group)))
          (newer (number-sequence (1+ (cdr shown)) (cdr active))))
      (let ((marked (mailsync-gnus--summary-note-marks newer)))
        (setq gnus-newsgroup-unselected
              (gnus-sorted-nunion
               (copy-sequence gnus-newsgroup-unselected)
               (seq-remove (lambda (number)
                             (or (memq number marked)
                                 (mailsync-gnus--in-range-p number read)))
                           newer))
              gnus-newsgroup-active (cons (car shown) (cdr active)))))))

(provide 'mailsync-gnus-summary-flags)
;;; mailsync-gnus-summary-flags.el ends here
