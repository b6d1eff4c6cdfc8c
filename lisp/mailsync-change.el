;;; mailsync-change.el --- Changes of folders, as Lisp sees them  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A change is a plist: `:account', `:folder' (canonical name), `:directory'
;; (as the user spells it), `:truename', `:kinds' and `:origins' (lists of
;; symbols), `:quiet' (those of its kinds that say no more than that a mail
;; reader has looked, and changed no flag), `:serial', by which the engine knows
;; what was checked, and `:seen', when the engine noticed the first of it (a
;; float, as `float-time' has it).
;; Here is how it comes out of a record of the pipe, and how two of one folder
;; become one, by the rules of the module's src/change.rs.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-pipe)

;;;; Internal variables

(defconst mailsync-change--kinds
  '((?n . new) (?f . flags) (?g . gone) (?c . folder-created)
    (?d . folder-deleted) (?u . unknown))
  "Letters of the kinds of changes.")

(defconst mailsync-change--origins
  '((?l . local) (?s . sync) (?r . remote))
  "Letters of the origins of changes.")

;;;; Code

(defun mailsync-change-read (record)
  "The change that RECORD, from the pipe, describes."
  (pcase-let* ((`(,_ ,account ,folder ,directory ,truename ,kinds ,origins
                     ,serial ,ago)
                record)
               (directory (mailsync-pipe-decode directory)))
    (list :account (mailsync-pipe-decode-text account)
          :folder (mailsync-pipe-decode-text folder)
          :directory (and (not (equal directory "")) directory)
          :truename (if (equal truename "") directory
                      (mailsync-pipe-decode truename))
          :kinds (mapcar (lambda (letter)
                           (alist-get (downcase letter) mailsync-change--kinds))
                         kinds)
          :origins (mapcar (lambda (letter) (alist-get letter mailsync-change--origins))
                           origins)
          :quiet (cl-loop for letter across kinds
                          unless (eq letter (downcase letter))
                          collect (alist-get (downcase letter)
                                             mailsync-change--kinds))
          :serial (string-to-number serial)
          :seen (- (float-time) (/ (string-to-number ago) 1000.0)))))

(defun mailsync-change-news-p (kind change)
  "Non-nil if KIND is one of CHANGE, by more than a mail reader's look."
  (and (memq kind (plist-get change :kinds))
       (not (memq kind (plist-get change :quiet)))))

(defun mailsync-change-merge (earlier later)
  "One change that stands for EARLIER and LATER, of the same folder."
  (let* ((merged (copy-sequence later))
         (before (plist-get earlier :kinds))
         (after (plist-get later :kinds))
         (kinds (seq-uniq (append before after)))
         (lives '(folder-created folder-deleted)))
    (when (seq-every-p (lambda (kind) (memq kind kinds)) lives)
      ;; Which of the two came last stands; what was between is unknown.
      (let ((last (seq-find (lambda (kind) (memq kind lives))
                            (append after before))))
        (setq kinds (seq-uniq
                     (cons 'unknown
                           (seq-remove (lambda (kind)
                                         (and (memq kind lives)
                                              (not (eq kind last))))
                                       kinds))))))
    (setq merged (plist-put merged :kinds kinds)
          merged (plist-put merged :quiet
                            (seq-uniq
                             (seq-remove
                              (lambda (kind)
                                (or (mailsync-change-news-p kind earlier)
                                    (mailsync-change-news-p kind later)))
                              (append (plist-get earlier :quiet)
                                      (plist-get later :quiet)))))
          merged (plist-put merged :serial
                            (max (or (plist-get earlier :serial) 0)
                                 (or (plist-get later :serial) 0)))
          merged (plist-put merged :seen
                            (mailsync-change--earliest
                             (plist-get earlier :seen)
                             (plist-get later :seen))))
    (plist-put merged :origins
               (seq-uniq (append (plist-get earlier :origins)
                                 (plist-get later :origins))))))

(defun mailsync-change--earliest (&rest times)
  "The earliest of TIMES that are not nil, or nil."
  (when-let ((known (delq nil times)))
    (apply #'min known)))

(provide 'mailsync-change)
;;; mailsync-change.el ends here
