;;; mailsync-gnus-total.el --- How much is unread in the groups that matter  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The sum of Gnus's own counts of the groups that the user names
;; (`mailsync-gnus-mode-line-groups'), for `mailsync-mode-line'.
;;
;; Nothing is asked and nothing polls.  Whatever changes a count in Gnus,
;; the user's reading as well as a check, draws a line of *Group*, writes it
;; anew, or is a command in it: the hooks there arm one timer for the moment
;; when Gnus is done (`mailsync-gnus--total-soon'), which adds up.  Which
;; groups are meant is found out when there are others.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-options)

;;;; Internal variables

(defvar mailsync-gnus--total nil
  "The last sum, (NUMBER ((GROUP . UNREAD) ...)), or nil where there is none.")

(defvar mailsync-gnus--total-timer nil
  "Timer that adds up when Gnus is done with what it does, or nil.")

(defvar mailsync-gnus--total-key nil
  "What `mailsync-gnus--total-key' said when the sum was made.")

(defvar mailsync-gnus--total-groups nil
  "The groups that are meant, (OPTION KEY GROUPS), or nil.
KEY is what `mailsync-gnus--total-key' said then.")

(defconst mailsync-gnus--total-hooks
  '(gnus-group-update-hook              ; a line is drawn, also by a command
    gnus-group-update-group-hook        ; after a summary, a check
    gnus-group-catchup-group-hook
    gnus-group-prepare-hook             ; all lines are
    gnus-summary-exit-hook
    gnus-after-getting-new-news-hook
    gnus-subscribe-newsgroup-functions
    gnus-suspend-gnus-hook)
  "Hooks of Gnus that run when a count has changed.")

;;;; Declarations

(defvar gnus-group-buffer)
(defvar gnus-newsrc-alist)
(defvar mailsync-gnus--set-up)

(declare-function mailsync-gnus-ready-p "mailsync-gnus-moment" ())
(declare-function mailsync-status-update "mailsync-status" ())
(declare-function mailsync--once "mailsync-log" (key level format &rest args))
(declare-function mailsync-log-help "mailsync-log" (text))

;;;; The sum

(defun mailsync-gnus--total-key ()
  "Something that differs when Gnus has other groups.
A new one is put in front."
  (cons (length gnus-newsrc-alist) (car (cadr gnus-newsrc-alist))))

(defun mailsync-gnus--total-groups ()
  "The groups that `mailsync-gnus-mode-line-groups' means."
  (let ((option mailsync-gnus-mode-line-groups)
        (key (mailsync-gnus--total-key)))
    (if (integerp option)
        ;; A level changes without a trace.
        (cl-loop for info in (cdr gnus-newsrc-alist)
                 when (<= (mailsync-gnus--level info) option)
                 collect (car info))
      (unless (and (eq option (nth 0 mailsync-gnus--total-groups))
                   (equal key (nth 1 mailsync-gnus--total-groups)))
        (setq mailsync-gnus--total-groups
              (list option key (mailsync-gnus--named-groups option))))
      (nth 2 mailsync-gnus--total-groups))))

(defun mailsync-gnus--named-groups (option)
  "The groups of Gnus that one of OPTION, a list of names or globs, means."
  (if (not (and (proper-list-p option) (cl-every #'stringp option)))
      (progn
        (mailsync--once (list 'mode-line-groups option) 'error
                        "`mailsync-gnus-mode-line-groups' is %S, but has to be \
a list of names, or a level" option)
        nil)
    (let ((case-fold-search nil))
      (cl-loop for (group) in (cdr gnus-newsrc-alist)
               when (cl-some (lambda (glob) (mailsync-gnus--glob-p glob group))
                             option)
               collect group))))

(defun mailsync-gnus--total-now ()
  "Add up; nil if nothing is wanted or Gnus does not run."
  (when (and mailsync-gnus-mode-line-groups (mailsync-gnus-ready-p))
    (let ((sum 0)
          (parts nil))
      (setq mailsync-gnus--total-key (mailsync-gnus--total-key))
      (dolist (group (mailsync-gnus--total-groups))
        (let ((unread (or (mailsync-gnus--unread group) 0)))
          (when (> unread 0)
            (cl-incf sum unread)
            (push (cons group unread) parts))))
      (list sum (nreverse parts)))))

(defun mailsync-gnus--total-update ()
  "Add up, and show the sum if it is another one."
  (when (timerp mailsync-gnus--total-timer)
    (cancel-timer mailsync-gnus--total-timer))
  (setq mailsync-gnus--total-timer nil)
  (let ((total (mailsync-gnus--total-now)))
    (unless (equal total mailsync-gnus--total)
      (setq mailsync-gnus--total total)
      (mailsync-status-update))))

(defun mailsync-gnus--total-soon (&rest _)
  "Add up in a moment, once, however often this is called until then."
  (when (and (or mailsync-gnus-mode-line-groups mailsync-gnus--total)
             mailsync-gnus--set-up
             (not mailsync-gnus--total-timer))
    (setq mailsync-gnus--total-timer
          (run-at-time 0 nil #'mailsync-gnus--total-update))))

(defun mailsync-gnus--total-after-command ()
  "Add up in a moment if a group came or went.
For `post-command-hook' in *Group*: to kill a group runs no hook."
  (when (and mailsync-gnus-mode-line-groups
             (not (equal (mailsync-gnus--total-key) mailsync-gnus--total-key)))
    (mailsync-gnus--total-soon)))

(defun mailsync-gnus-total-text ()
  "The sum as the mode line shows it, with what the mouse shows; \"\" without one."
  (if (not (and mailsync-gnus--total (stringp mailsync-gnus-mode-line-total)))
      ""
    (pcase-let ((`(,sum ,parts) mailsync-gnus--total))
      (propertize
       (string-replace "%" "%%"
                       (string-replace "%d" (number-to-string sum)
                                       mailsync-gnus-mode-line-total))
       'help-echo (mailsync-log-help
                   (concat (format "%d unread" sum)
                           (mapconcat (pcase-lambda (`(,group . ,unread))
                                        (format "\n%d: %s" unread group))
                                      (seq-take parts 20) "")
                           (if (nthcdr 20 parts) "\n..." "")))))))

;;;; Gnus comes and goes

(defun mailsync-gnus--total-watch-group-buffer ()
  "Follow the commands in *Group*, which is current."
  (add-hook 'post-command-hook #'mailsync-gnus--total-after-command nil t))

(defun mailsync-gnus--total-setup ()
  "Begin to follow Gnus's counts; what is there already is counted soon."
  (dolist (hook mailsync-gnus--total-hooks)
    (add-hook hook #'mailsync-gnus--total-soon t))
  (add-hook 'gnus-group-mode-hook #'mailsync-gnus--total-watch-group-buffer)
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (mailsync-gnus--total-watch-group-buffer)))
  (mailsync-gnus--total-soon))

(defun mailsync-gnus--total-teardown ()
  "Stop following Gnus's counts, and show none."
  (dolist (hook mailsync-gnus--total-hooks)
    (remove-hook hook #'mailsync-gnus--total-soon))
  (remove-hook 'gnus-group-mode-hook #'mailsync-gnus--total-watch-group-buffer)
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (remove-hook 'post-command-hook #'mailsync-gnus--total-after-command t)))
  (when (timerp mailsync-gnus--total-timer)
    (cancel-timer mailsync-gnus--total-timer))
  (setq mailsync-gnus--total-timer nil
        mailsync-gnus--total-groups nil
        mailsync-gnus--total nil))

(provide 'mailsync-gnus-total)
;;; mailsync-gnus-total.el ends here
