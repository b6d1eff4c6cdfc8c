;;; mailsync-gnus-flags.el --- Flags that somebody else took away  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A server that can do QRESYNC (RFC 7162) says which flags its messages
;; have now, only for those whose flags changed.  From such an answer
;; nnimap takes over flags that were set, but none that was taken away: a
;; message that the phone marks as unread stays read, and one that it
;; unflags stays ticked.  So the same answer is read here again, after
;; nnimap.
;;
;; Gnus asks such questions by itself, too, when it starts, gets news or
;; moves an article into a group, and what it has been told nobody tells
;; again.  So we ask from where we have read last.
;;
;; While an answer is on its way the user may read a message.  Whether the
;; server said that it is unread before it heard of that, or after, nobody
;; knows; so it stays read, and the server is asked once more.

;;; Code:

(require 'cl-lib)
(require 'mailsync-gnus-ranges)

(defconst mailsync-gnus--flag-marks
  '((tick "Flagged") (reply "Answered"))
  "Alist from one of Gnus's marks to the flag by which a server stores it.")

(defvar mailsync-gnus--flags-read (make-hash-table :test #'equal)
  "Group to (UIDVALIDITY . MODSEQ), up to which flags were read here.")

(defvar mailsync-gnus--flags-open (make-hash-table :test #'equal)
  "The groups that are to be asked for once more.
What their last answer says of a flag may be older than what the
user has done.")

(defun mailsync-gnus--ask-since (info)
  "Have what is asked for INFO begin where flags were read last."
  (let* ((params (nth 5 info))
         (modseq (assq 'modseq params))
         (last (gethash (car info) mailsync-gnus--flags-read)))
    (when (and last (stringp (cdr modseq)) (stringp (cdr last))
               (equal (car last) (cdr (assq 'uidvalidity params)))
               (< (string-to-number (cdr last))
                  (string-to-number (cdr modseq))))
      (setcdr modseq (cdr last)))))

(defun mailsync-gnus--flags-were-read (info)
  "Note how far the answer for INFO went, of which the flags were read."
  (let ((params (nth 5 info)))
    (puthash (car info)
             (cons (cdr (assq 'uidvalidity params)) (cdr (assq 'modseq params)))
             mailsync-gnus--flags-read)))

(defun mailsync-gnus--answered-flags (token)
  "What the answer in the current buffer says of the flags of messages.
TOKEN is nnimap's, for what was asked.  Return an alist from names
of groups to lists (UID FLAG...), the flags without backslash.
Groups that were asked for otherwise than by QRESYNC are left out:
there nnimap sees everything."
  (save-excursion
    (save-match-data
      (goto-char (point-min))
      (cl-loop
       for (tag kind _ name) in (reverse token)
       for start = (point)
       for end = (re-search-forward
                  ;; What nnimap asks for otherwise has two answers, and
                  ;; the flags in the second are of that group alone.
                  (format "^%d .*\n" (if (numberp kind) kind tag))
                  nil t)
       when (and end (eq kind 'qresync))
       collect (cons name (mailsync-gnus--flags-between start end))))))

(defun mailsync-gnus--flags-between (start end)
  "The lists (UID FLAG...) of the current buffer between START and END."
  (let ((found nil))
    (goto-char start)
    (while (re-search-forward "^\\* [0-9]+ FETCH (.*$" end t)
      (let ((line (match-string 0)))
        (when (string-match "[( ]UID \\([0-9]+\\)" line)
          (let ((uid (string-to-number (match-string 1 line))))
            (when (string-match "[( ]FLAGS (\\([^)]*\\))" line)
              ;; nnimap changes backslashes in its buffer.
              (push (cons uid (split-string (match-string 1 line)
                                            "[ \\%]+" t))
                    found))))))
    (goto-char end)
    found))

(defun mailsync-gnus--take-flags-away (info read answer)
  "Take from INFO the marks of which ANSWER says that they are gone.
READ are the ranges of read messages when the server was asked: what
the user has read since then stays read.  ANSWER is a list of
lists (UID FLAG...).  Return non-nil if the server should be asked again."
  ;; Else the group is read-only, and nnimap ignores flags.
  (when (cdr (assq 'permanent-flags (nth 5 info)))
    (let ((open nil))
      (pcase-dolist (`(,uid . ,flags) answer)
        (when (and (not (cl-intersection '("Seen" "Flagged" "Deleted") flags
                                         :test #'string-equal))
                   (mailsync-gnus--in-range-p uid
                                              (mailsync-gnus--info-read info)))
          (if (mailsync-gnus--in-range-p uid read)
              (setf (nth 2 info)
                    (mailsync-gnus--range-without
                     (mailsync-gnus--info-read info) uid))
            (setq open t)))
        (pcase-dolist (`(,mark ,flag) mailsync-gnus--flag-marks)
          (let ((entry (assq mark (mailsync-gnus--info-marks info))))
            (when (and entry (not (member flag flags))
                       (mailsync-gnus--in-range-p uid (cdr entry)))
              (setcdr entry
                      (mailsync-gnus--range-without (cdr entry) uid))))))
      open)))

(provide 'mailsync-gnus-flags)
;;; mailsync-gnus-flags.el ends here
