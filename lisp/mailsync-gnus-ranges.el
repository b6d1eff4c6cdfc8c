;;; mailsync-gnus-ranges.el --- Which messages of a group are read  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What Gnus notes of a group (its info) names messages by ranges: a list
;; of numbers and of pairs (LOW . HIGH), ascending, or a single pair.  In
;; Emacs 29 Gnus's own functions for them got other names.

;;; Code:

(require 'cl-lib)

;; Structures of gnus.el, which in Emacs 28 and 30 are lists.

(defun mailsync-gnus--info-read (info)
  "The ranges of read messages of INFO."
  (nth 2 info))

(defun mailsync-gnus--info-marks (info)
  "The marks of INFO, an alist from mark to ranges."
  (nth 3 info))

(defun mailsync-gnus--in-range-p (number range)
  "Non-nil if NUMBER is in RANGE, as Gnus keeps one."
  (cl-loop for part in (mailsync-gnus--range-parts range)
           thereis (if (consp part)
                       (<= (car part) number (cdr part))
                     (= part number))))

(defun mailsync-gnus--range-parts (range)
  "RANGE as a list, even if it is a single pair."
  (if (and (cdr range) (atom (cdr range))) (list range) range))

(defun mailsync-gnus--range-minus (range other)
  "The numbers that are in RANGE and not in OTHER, ascending.
Both are as Gnus keeps ranges."
  (let ((rest (mailsync-gnus--range-pairs other))
        (numbers nil))
    (pcase-dolist (`(,low . ,high) (mailsync-gnus--range-pairs range))
      (while (<= low high)
        (while (and rest (< (cdar rest) low)) (pop rest))
        (if (and rest (<= (caar rest) low))
            (setq low (1+ (cdar rest)))
          (push low numbers)
          (setq low (1+ low)))))
    (nreverse numbers)))

(defun mailsync-gnus--range-pairs (range)
  "RANGE as a list of pairs."
  (mapcar (lambda (part) (if (consp part) part (cons part part)))
          (mailsync-gnus--range-parts range)))

(defun mailsync-gnus--range-without (range number)
  "RANGE, as Gnus keeps one, without NUMBER."
  (cl-loop for part in (mailsync-gnus--range-parts range)
           for (low . high) = (if (consp part) part (cons part part))
           if (not (<= low number high)) collect part
           else append (append (mailsync-gnus--range low (1- number))
                               (mailsync-gnus--range (1+ number) high))))

(defun mailsync-gnus--range (low high)
  "The range from LOW to HIGH."
  (cond ((< low high) (list (cons low high)))
        ((= low high) (list low))))

(defun mailsync-gnus--add-read (info numbers)
  "Note in INFO that the messages with NUMBERS are read."
  (when numbers
    (let ((parts nil))
      (dolist (part (sort (append numbers
                                  (copy-tree (mailsync-gnus--range-parts
                                              (mailsync-gnus--info-read info))))
                          (lambda (a b)
                            (< (if (consp a) (car a) a)
                               (if (consp b) (car b) b)))))
        (pcase-let ((`(,low . ,high) (if (consp part) part (cons part part))))
          (if (and parts (<= low (1+ (cdar parts))))
              (setcdr (car parts) (max high (cdar parts)))
            (push (cons low high) parts))))
      (setf (nth 2 info)
            (cl-loop for (low . high) in (nreverse parts)
                     append (mailsync-gnus--range low high))))))

(provide 'mailsync-gnus-ranges)
;;; mailsync-gnus-ranges.el ends here
