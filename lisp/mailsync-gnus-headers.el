;;; mailsync-gnus-headers.el --- Headers of new messages in nnimap  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; When an nnimap server has answered, and there are new messages, it is
;; asked, on the same connection of ours, from whom they are.  Nobody waits
;; for that either: the server is `asked' once more, and what its first
;; answer came to is reported with the second one, or without it if there
;; is none.  It is not asked if nobody wants to know
;; (`mailsync-new-mail-functions').

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-news)

;;;; Internal variables

(defconst mailsync-gnus--headers-groups-max 20
  "Ask for headers in so many groups at most in one go.")

;;;; Declarations

(defvar mailsync-new-mail-functions)
(defvar nnimap-streaming)

(declare-function nnimap-group-to-imap "nnimap" (group))
(declare-function nnimap-send-command "nnimap" (&rest args))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))

;;;; Asking

(defun mailsync-gnus--headers-wanted-p (server)
  "Non-nil if SERVER may be asked for headers, and somebody wants them."
  (and (bound-and-true-p mailsync-new-mail-functions)
       (fboundp 'nnimap-send-command)
       (fboundp 'nnimap-group-to-imap)
       ;; Else nnimap waits for each answer.
       (bound-and-true-p nnimap-streaming)
       (eq (mailsync-gnus--imap-state server) 'idle)
       (process-live-p (mailsync-gnus--imap-process server))
       (buffer-live-p (mailsync-gnus--imap-buffer server))))

(defun mailsync-gnus--headers-finish (server)
  "Take the answer of SERVER and return its reports, or `wait'.
`wait' means that SERVER is asked for headers now."
  (if-let* ((reports (mailsync-gnus--imap-reports server)))
      (progn
        (mailsync-gnus--headers-take server)
        reports)
    (let* ((reports (mailsync-gnus--imap-finish server))
           (wanted (and (mailsync-gnus--headers-wanted-p server)
                        (mailsync-gnus--headers-to-ask reports))))
      (if (and wanted (mailsync-gnus--headers-ask server wanted reports))
          'wait
        reports))))

(defun mailsync-gnus--headers-to-ask (reports)
  "What to ask for after REPORTS, an alist from group to numbers."
  (let ((wanted nil))
    (pcase-dolist (`(,group ,result) reports)
      (when (and (eq result 'checked)
                 (not (nthcdr (1- mailsync-gnus--headers-groups-max) wanted)))
        (when-let* ((numbers (ignore-errors
                               (mailsync-gnus--news-candidates group))))
          (push (cons group
                      (seq-take numbers mailsync-gnus--news-messages-max))
                wanted))))
    (nreverse wanted)))

(defun mailsync-gnus--headers-ask (server wanted reports)
  "Ask SERVER for the headers of WANTED; keep REPORTS until it answers.
WANTED is an alist from group to numbers.  Return nil if that failed."
  (condition-case err
      (with-current-buffer (mailsync-gnus--imap-buffer server)
        (erase-buffer)
        (let ((asked nil))
          (pcase-dolist (`(,group . ,numbers) wanted)
            (nnimap-send-command
             "EXAMINE %S"
             (nnimap-group-to-imap (mailsync-gnus--real-name group)))
            (push (cons (nnimap-send-command
                         "UID FETCH %s (UID BODY.PEEK[HEADER.FIELDS \
(FROM SUBJECT DATE MESSAGE-ID)])"
                         (mapconcat #'number-to-string numbers ","))
                        group)
                  asked))
          ;; The last one is that with which the answer is complete.
          (setf (mailsync-gnus--imap-token server)
                (mapcar (lambda (entry) (list (car entry) (cdr entry))) asked)
                (mailsync-gnus--imap-reports server) reports
                (mailsync-gnus--imap-state server) 'asked)
          (mailsync-gnus--imap-watch server)
          t))
    (error
     (mailsync-log-add 'warning "%s: cannot ask for headers: %s"
                       (mailsync-gnus--imap-name server)
                       (error-message-string err))
     (mailsync-gnus--imap-failed server)
     nil)))

;;;; The answer

(defun mailsync-gnus--headers-take (server)
  "Take the headers that SERVER has answered, if it has."
  (if (not (eq (mailsync-gnus--imap-state server) 'answered))
      (mailsync-gnus--imap-failed server)
    (condition-case err
        (with-current-buffer (mailsync-gnus--imap-buffer server)
          (goto-char (point-min))
          (pcase-dolist (`(,tag ,group)
                         (reverse (mailsync-gnus--imap-token server)))
            (puthash group (mailsync-gnus--headers-parse tag)
                     mailsync-gnus--news-headers)))
      (error
       (mailsync-log-add 'warning "%s: cannot read headers: %s"
                         (mailsync-gnus--imap-name server)
                         (error-message-string err))))
    (mailsync-gnus--imap-forget server)))

(defun mailsync-gnus--headers-parse (tag)
  "The headers from point to the line with TAG, an alist from number to them.
Leave point after that line."
  (let ((messages nil)
        (end (format "^%d .*\n" tag))
        (done nil))
    (while (and (not done)
                (re-search-forward
                 (concat "^\\* [0-9]+ FETCH \\(.*\\){\\([0-9]+\\)}\r?\n\\|" end)
                 nil t))
      (if (not (match-beginning 1))
          (setq done t)
        (let* ((before (match-string 1))
               (begin (point))
               ;; The buffer has bytes.
               (after (min (point-max)
                           (+ begin (string-to-number (match-string 2)))))
               (fields (save-restriction
                         (narrow-to-region begin after)
                         (mailsync-gnus--news-header-fields)))
               (rest (progn (goto-char after)
                            (buffer-substring (point) (line-end-position)))))
          (when (string-match "\\bUID \\([0-9]+\\)" (concat before " " rest))
            (push (cons (string-to-number
                         (match-string 1 (concat before " " rest)))
                        fields)
                  messages)))))
    messages))

(provide 'mailsync-gnus-headers)
;;; mailsync-gnus-headers.el ends here
