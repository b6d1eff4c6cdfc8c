;;; mailsync-gnus-summary.el --- New articles in a Summary that is open  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; A check changes the count of a group, not the *Summary* in which the
;; user reads.  If the user wants it, this says there that articles have
;; come, or inserts them, in a moment like that for a check.
;;
;; Gnus's command, `gnus-summary-insert-new-articles', looks for new mail
;; again and waits for the server; so its parts are used.  Their order
;; here: ask for the headers (an nnimap server on mailsync's own
;; connection, so that nobody waits), note them in the data of the Summary
;; and draw it anew (mailsync-gnus-summary-draw.el).

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-ranges)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-moment)
(require 'mailsync-gnus-summary-draw)
(require 'mailsync-gnus-summary-flags)
(require 'mailsync-options)

;;;; Internal variables

(defconst mailsync-gnus--summary-max 1000
  "Insert nothing into a Summary with more lines: it would take too long.")

(defconst mailsync-gnus--summary-new-max 200
  "Insert no more than so many articles in one go.")

(defconst mailsync-gnus--summary-back-ends
  '(nnimap nnmaildir nnml nnfolder nnmh nnmbox nnbabyl)
  "Back ends that have headers at hand, or can be asked without waiting.")

(defvar mailsync-gnus--summaries nil
  "The groups into whose Summary articles are to be inserted.")

(defvar mailsync-gnus--summary-asked nil
  "The headers that an nnimap server was asked for, (GROUP SERVER TAG NUMBERS).")

(defvar mailsync-gnus--summary-timer nil
  "Timer for the next attempt to insert articles.")

(defvar mailsync-gnus--summary-refusals 0
  "How often in a row the moment was not right.")

(defvar-local mailsync-gnus--summary-told nil
  "What was said in this Summary: (HIGHEST . TEXT), the article's number first.")

;;;; Declarations

(defvar gnus-agent)
(defvar gnus-article-buffer)
(defvar gnus-fetch-old-headers)
(defvar gnus-newsgroup-highest)
(defvar gnus-newsgroup-name)
(defvar gnus-summary-buffer)
(defvar nnimap-streaming)
(defvar nntp-server-buffer)

(declare-function gnus-agent-method-p "gnus" (method-or-server))
(declare-function gnus-ephemeral-group-p "gnus" (group))
(declare-function gnus-fetch-headers "gnus-sum"
                  (articles &optional limit force-new dependencies))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-get-newsgroup-headers "gnus-sum"
                  (&optional dependencies force-new))
(declare-function gnus-list-of-unread-articles "gnus-sum" (group))
(declare-function mail-header-number "nnheader" (cl-x) t)
(declare-function mailsync-gnus--wake "mailsync-gnus" ())
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
(declare-function mailsync--undisturbed "mailsync-log" (function &rest args))
(declare-function nnheader-remove-cr-followed-by-lf "nnheader" ())
(declare-function nnimap-article-ranges "nnimap" (ranges))
(declare-function nnimap-find-process-buffer "nnimap" (buffer))
(declare-function nnimap-group-to-imap "nnimap" (group))
(declare-function nnimap-header-parameters "nnimap" ())
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))
(declare-function nnimap-send-command "nnimap" (&rest args))
(declare-function nnimap-transform-headers "nnimap" ())

;;;; Which Summary, which articles

(defun mailsync-gnus--summary-buffer (group)
  "The living Summary of GROUP, or nil."
  (cl-find-if (lambda (buffer)
                ;; First, since mostly there is none.
                (and (eq (buffer-local-value 'major-mode buffer)
                         'gnus-summary-mode)
                     (with-current-buffer buffer
                       (and (not (bound-and-true-p gnus-dead-summary-mode))
                            (equal gnus-newsgroup-name group)
                            (not (gnus-ephemeral-group-p group))
                            (numberp gnus-newsgroup-highest)))))
              (buffer-list)))

(defun mailsync-gnus--summary-new (group)
  "The unread articles that have come to GROUP since its Summary was made.
In that Summary's buffer."
  (cl-loop for number in (gnus-list-of-unread-articles group)
           when (> number gnus-newsgroup-highest) collect number))

(defun mailsync-gnus--summary-checked (group)
  "GROUP was checked: do for its Summary what the user wants."
  (when-let* ((buffer (mailsync-gnus--summary-buffer group)))
    (with-current-buffer buffer
      (mailsync-gnus--summary-note-gone group)
      (mailsync-gnus--summary-note-flags)
      (when (and mailsync-gnus-update-summary
                 (mailsync-gnus--summary-new group))
        (if (or (eq mailsync-gnus-update-summary 'message)
                (mailsync-gnus--summary-why-not group))
            (mailsync-gnus--summary-tell group)
          (cl-pushnew group mailsync-gnus--summaries :test #'equal)
          (mailsync-gnus--summary-arm 0))))))

;;;; Whether articles can be inserted

(defun mailsync-gnus--summary-why-not (group)
  "Why articles cannot be inserted into the Summary of GROUP, or nil.
In that Summary's buffer."
  (let ((method (gnus-find-method-for-group group)))
    (cond
     ((not (memq (car method) mailsync-gnus--summary-back-ends)) 'back-end)
     ((and (eq (car method) 'nnimap)
           (not (mailsync-gnus--summary-can-ask-p method)))
      'server)
     ((and gnus-agent (gnus-agent-method-p method)) 'agent)
     ((buffer-narrowed-p) 'narrowed)
     ((> (count-lines (point-min) (point-max)) mailsync-gnus--summary-max)
      'large)
     ((nthcdr mailsync-gnus--summary-new-max
              (mailsync-gnus--summary-new group))
      'many)
     ((mailsync-gnus--summary-editing-p) 'editing))))

(defun mailsync-gnus--summary-editing-p ()
  "Non-nil while an article of this Summary is being edited."
  (when-let* ((buffer (get-buffer gnus-article-buffer)))
    (eq (buffer-local-value 'major-mode buffer) 'gnus-article-edit-mode)))

;;;; Saying so

(defun mailsync-gnus--summary-tell (group)
  "Say in this Summary that articles have come to GROUP, once for each."
  (let* ((new (mailsync-gnus--summary-new group))
         (highest (car (last new)))
         (text (format (if (cdr new) "%d new articles" "%d new article")
                       (length new))))
    (when (and new (< (or (car mailsync-gnus--summary-told) 0) highest))
      (setq mailsync-gnus--summary-told (cons highest text))
      (mailsync-gnus--summary-show-told)
      (mailsync-gnus--summary-echo
       (substitute-command-keys
        (format "%s in this group; \\<gnus-summary-mode-map>\
\\[gnus-summary-insert-new-articles] inserts %s"
                text (if (cdr new) "them" "it")))))))

(defun mailsync-gnus--summary-show-told ()
  "Show in the mode line what was told, until the articles are there."
  (setq mode-line-process '(:eval (mailsync-gnus--summary-mode-line)))
  (force-mode-line-update))

(defun mailsync-gnus--summary-mode-line ()
  "What the mode line of this Summary says of new articles."
  (if (and mailsync-gnus--summary-told
           (numberp gnus-newsgroup-highest)
           (> (car mailsync-gnus--summary-told) gnus-newsgroup-highest))
      (format " [%s]" (cdr mailsync-gnus--summary-told))
    ""))

(defun mailsync-gnus--summary-echo (text)
  "Show TEXT in the echo area if this buffer is to be seen and it is free."
  (when (and (get-buffer-window nil 'visible)
             (zerop (minibuffer-depth))
             (not (current-message))
             (not cursor-in-echo-area)
             (not overriding-terminal-local-map)
             (not executing-kbd-macro)
             (not (input-pending-p)))
    (let ((message-log-max nil))
      (message "%s" text))))

;;;; When

(defun mailsync-gnus--summary-arm (seconds)
  "Try to insert articles after SECONDS."
  (when (timerp mailsync-gnus--summary-timer)
    (cancel-timer mailsync-gnus--summary-timer))
  (setq mailsync-gnus--summary-timer
        (run-at-time seconds nil #'mailsync-gnus--summary-step)))

(defun mailsync-gnus--summary-step ()
  "Insert articles into one Summary if this is a moment for it."
  (mailsync--undisturbed #'mailsync-gnus--summary-step-1))

(defun mailsync-gnus--summary-step-1 ()
  "Do what `mailsync-gnus--summary-step' does."
  (setq mailsync-gnus--summary-timer nil)
  (let ((refusal (and (mailsync-gnus-ready-p) (mailsync-gnus--refusal))))
    (cond
     ((not (mailsync-gnus-ready-p)) (mailsync-gnus--summary-drop))
     ((memq refusal '(busy input))
      (setq mailsync-gnus--summary-timer
            (run-with-idle-timer (mailsync--seconds 'mailsync-gnus-idle-delay) nil
                                 #'mailsync-gnus--summary-step)))
     (refusal
      (mailsync-gnus--summary-arm
       (min 8 (* 0.1 (expt 2 (min 10 (cl-incf mailsync-gnus--summary-refusals)))))))
     (t
      (setq mailsync-gnus--summary-refusals 0)
      (let ((mailsync-gnus--running t))
        (mailsync-gnus--summary-work))
      (when (and mailsync-gnus--summaries
                 (not mailsync-gnus--summary-asked))
        (mailsync-gnus--summary-arm 0.01))))))

(defun mailsync-gnus--summary-work ()
  "Take the headers that have come, or begin with the next Summary."
  (let* ((asked mailsync-gnus--summary-asked)
         (group (if asked (car asked) (pop mailsync-gnus--summaries)))
         (buffer (and group (mailsync-gnus--summary-buffer group)))
         (answered (and asked (mailsync-gnus--summary-answered-p)))
         (done nil))
    (unless (and asked (not answered))
      (condition-case err
          (when buffer
            (with-current-buffer buffer
              (setq done
                    (and (not (mailsync-gnus--summary-why-not group))
                         (if asked
                             (and (eq answered 'answered)
                                  (mailsync-gnus--summary-take))
                           (mailsync-gnus--summary-begin group))))))
        (error
         (mailsync-log-add 'error "%s: inserting new articles: %s" group
                           (error-message-string err))))
      (when asked (mailsync-gnus--summary-forget answered))
      (when (and buffer (not done) (buffer-live-p buffer))
        (with-current-buffer buffer
          (mailsync-gnus--summary-tell group))))))

(defun mailsync-gnus--summary-begin (group)
  "Insert what has come to GROUP into this Summary, or ask for it.
Return non-nil if that is done or on its way."
  (let ((new (mailsync-gnus--summary-new group))
        (method (gnus-find-method-for-group group)))
    (cond
     ((null new) t)
     ((eq (car method) 'nnimap)
      (mailsync-gnus--summary-ask group method new))
     (t
      (mailsync-gnus--quietly
        (let ((gnus-summary-buffer (current-buffer))
              (gnus-fetch-old-headers nil))
           (mailsync-gnus--summary-insert
           new (lambda () (gnus-fetch-headers new nil t)))))))))

(defun mailsync-gnus--summary-drop ()
  "Forget what was to be inserted: Gnus is gone, or mailsync stops."
  (when (timerp mailsync-gnus--summary-timer)
    (cancel-timer mailsync-gnus--summary-timer))
  (setq mailsync-gnus--summary-timer nil
        mailsync-gnus--summaries nil
        mailsync-gnus--summary-asked nil))

;;;; nnimap's headers, without waiting

(defun mailsync-gnus--summary-can-ask-p (method)
  "Non-nil if the nnimap server METHOD can be asked without waiting."
  (and (mailsync-gnus--imap-asynchronous-p method)
       (bound-and-true-p nnimap-streaming)
       (cl-every #'fboundp '(nnimap-article-ranges nnimap-group-to-imap
                             nnimap-header-parameters nnimap-send-command
                             nnimap-transform-headers))
       ;; This connects to nothing.
       (condition-case nil
           (mailsync-gnus--with-imap-buffer
             (nnimap-open-server (nth 1 method) (cddr method) t))
         (error nil))))

(defun mailsync-gnus--summary-ask (group method numbers)
  "Ask the nnimap server METHOD for the headers of NUMBERS of GROUP.
Return nil if that cannot be done."
  (let ((server (mailsync-gnus--imap-server method)))
    (if (not (eq (mailsync-gnus--imap-state server) 'idle))
        ;; It is being asked for something else; that does not take long.
        (progn
          (push group mailsync-gnus--summaries)
          (mailsync-gnus--summary-arm 0.1)
          t)
      (mailsync-gnus--with-imap-buffer
        (nnimap-open-server (nth 1 method) (cddr method) t)
        (with-current-buffer (nnimap-find-process-buffer nntp-server-buffer)
          (erase-buffer)
          (nnimap-send-command
           "EXAMINE %S" (nnimap-group-to-imap (mailsync-gnus--real-name group)))
          (let ((tag (nnimap-send-command "UID FETCH %s %s"
                                          (nnimap-article-ranges numbers)
                                          (nnimap-header-parameters))))
            (setq mailsync-gnus--summary-asked (list group server tag numbers))
            (mailsync-gnus--summary-watch server (current-buffer)))))
      t)))

(defun mailsync-gnus--summary-watch (server buffer)
  "Notice when the headers that SERVER was asked for are in BUFFER.
Until then nobody else asks it on this connection."
  (let ((process (get-buffer-process buffer))
        (asked mailsync-gnus--summary-asked))
    (setf (mailsync-gnus--imap-state server) 'headers
          (mailsync-gnus--imap-buffer server) buffer
          (mailsync-gnus--imap-process server) process
          (mailsync-gnus--imap-tag server) (nth 2 asked)
          (mailsync-gnus--imap-searched server) 1
          (mailsync-gnus--imap-deadline server)
          (run-at-time (mailsync--seconds 'mailsync-gnus-imap-timeout) nil
                       #'mailsync-gnus--summary-late asked))
    (add-function :after (process-filter process)
                  (lambda (&rest _) (mailsync-gnus--summary-look asked))
                  '((name . mailsync-gnus)))
    (add-function :after (process-sentinel process)
                  (lambda (&rest _) (mailsync-gnus--summary-look asked))
                  '((name . mailsync-gnus)))))

(defun mailsync-gnus--summary-look (asked)
  "Go on if what was ASKED has been answered, or nobody is there any more.
Runs in a process filter: only looks."
  (when (and asked (eq asked mailsync-gnus--summary-asked)
             (mailsync-gnus--summary-answered-p))
    (mailsync-gnus--summary-arm 0)))

(defun mailsync-gnus--summary-late (asked)
  "The server did not answer what was ASKED in time."
  (when (eq asked mailsync-gnus--summary-asked)
    (mailsync-gnus--imap-failed (nth 1 asked))
    (mailsync-gnus--summary-arm 0)))

(defun mailsync-gnus--summary-answered-p ()
  "`answered' if the headers are there, `dead' if they will not come, or nil."
  (let ((server (nth 1 mailsync-gnus--summary-asked)))
    (cond ((not (eq (mailsync-gnus--imap-state server) 'headers)) 'dead)
          ((mailsync-gnus--imap-answered-p server) 'answered)
          ((process-live-p (mailsync-gnus--imap-process server)) nil)
          (t 'dead))))

(defun mailsync-gnus--summary-take ()
  "Insert the headers that have come from an nnimap server into this Summary."
  (pcase-let ((`(,_ ,server ,tag ,numbers) mailsync-gnus--summary-asked))
    (mailsync-gnus--quietly
      (mailsync-gnus--with-imap-buffer
        (let ((gnus-summary-buffer (current-buffer))
              (fetched (mailsync-gnus--imap-buffer server))
              (highest gnus-newsgroup-highest))
          (with-current-buffer fetched
            (goto-char (point-min))
            (unless (re-search-forward (format "^%d OK " tag) nil t)
              (error "The server refuses the headers"))
            (nnimap-transform-headers)
            (nnheader-remove-cr-followed-by-lf))
          (with-current-buffer nntp-server-buffer
            (erase-buffer)
            (insert-buffer-substring fetched))
          ;; What the user has inserted meanwhile is there.
          (mailsync-gnus--summary-insert
           (seq-filter (lambda (number) (> number highest)) numbers)
           (lambda ()
             (seq-filter (lambda (header)
                           (> (mail-header-number header) highest))
                         (gnus-get-newsgroup-headers nil t)))))))))

(defun mailsync-gnus--summary-forget (answered)
  "Forget what was asked, and free the connection; ANSWERED says how it went."
  (let ((server (nth 1 mailsync-gnus--summary-asked)))
    (setq mailsync-gnus--summary-asked nil)
    (when (eq (mailsync-gnus--imap-state server) 'headers)
      (if (eq answered 'answered)
          (mailsync-gnus--imap-forget server)
        (mailsync-gnus--imap-failed server)))
    ;; A check may have waited for it.
    (mailsync-gnus--wake)))

;;;; Inserting

(defun mailsync-gnus--summary-insert (numbers function)
  "Insert the articles NUMBERS into this Summary; FUNCTION gives their headers.
Return nil if that cannot be done."
  (let ((limited (mailsync-gnus--summary-limited-p)))
    ;; Before FUNCTION, which lets the threads know of the new ones.
    (when (or limited (mailsync-gnus--summary-sorted-p))
      (when-let* ((headers (funcall function))
                  (got (sort (mapcar #'mail-header-number headers) #'<)))
        (mailsync-gnus--summary-note numbers got headers limited)
        (if limited
            (mailsync-gnus--summary-tell-limited (length got))
          (mailsync-gnus--summary-draw)))
      t)))

(defun mailsync-gnus--summary-tell-limited (count)
  "Say that COUNT articles have come, which a limit hides."
  (let ((text (format (if (= count 1) "%d new article" "%d new articles")
                      count)))
    (mailsync-gnus--summary-echo
     (substitute-command-keys
      (format "%s outside the limit; \\<gnus-summary-mode-map>\
\\[gnus-summary-pop-limit] shows %s"
              text (if (= count 1) "it" "them"))))))

(provide 'mailsync-gnus-summary)
;;; mailsync-gnus-summary.el ends here
