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
;; (mailsync-gnus--summary-note), draw it anew, and put everything back to
;; where it was (mailsync-gnus--summary-draw).

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-ranges)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-imap)
(require 'mailsync-gnus-moment)

;;;; Customization

(defcustom mailsync-gnus-update-summary nil
  "What is done for an open *Summary* when articles have come to its group.
nil leaves it alone.  `message' says so in its mode line, and in the
echo area if the *Summary* is to be seen and nothing else is there.
`insert' inserts the articles as soon as you are idle.  What you see
does not move: point, the first line of each window, threads that are
hidden, the order, the limit and the article stay as they are.  While
a limit hides a part of the group, or where it cannot be done without
waiting or without losing something, it is as with `message'."
  :type '(choice (const :tag "Leave it alone" nil)
                 (const :tag "Say so" message)
                 (const :tag "Insert them" insert))
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

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

(defvar-local mailsync-gnus--summary-flags nil
  "What was read and marked in this group when it was last looked at.
An alist from mark to ranges, `read' being one of them.")

(defvar-local mailsync-gnus--summary-told nil
  "What was said in this Summary: (HIGHEST . TEXT), the article's number first.")

;;;; Declarations

(defvar gnus-agent)
(defvar gnus-article-buffer)
(defvar gnus-article-mark-lists)
(defvar gnus-article-special-mark-lists)
(defvar gnus-fetch-old-headers)
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
(defvar gnus-newsgroup-marked)
(defvar gnus-newsgroup-reads)
(defvar gnus-newsgroup-selected-overlay)
(defvar gnus-newsgroup-sparse)
(defvar gnus-newsgroup-unexist)
(defvar gnus-newsgroup-unreads)
(defvar gnus-newsgroup-unseen)
(defvar gnus-newsgroup-unselected)
(defvar gnus-number)
(defvar gnus-read-mark)
(defvar gnus-show-threads)
(defvar gnus-summary-buffer)
(defvar gnus-summary-mark-below)
(defvar gnus-suppress-duplicates)
(defvar gnus-thread-hide-subtree)
(defvar gnus-use-scoring)
(defvar nnimap-streaming)
(defvar nntp-server-buffer)

(declare-function mailsync-gnus--catch-up-left "mailsync-gnus-work" (group))
(declare-function gnus-agent-get-undownloaded-list "gnus-agent" ())
(declare-function gnus-agent-method-p "gnus" (method-or-server))
(declare-function gnus-article-sort-by-number "gnus-sum" (h1 h2))
(declare-function gnus-dup-suppress-articles "gnus-dup" ())
(declare-function gnus-ephemeral-group-p "gnus" (group))
(declare-function gnus-fetch-headers "gnus-sum"
                  (articles &optional limit force-new dependencies))
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-get-newsgroup-headers "gnus-sum"
                  (&optional dependencies force-new))
(declare-function gnus-list-of-unread-articles "gnus-sum" (group))
(declare-function gnus-possibly-score-headers "gnus-score" (&optional trace))
(declare-function gnus-set-mode-line "gnus-sum" (where))
(declare-function gnus-sorted-nunion "gnus-range" (list1 list2))
(declare-function gnus-summary-hide-thread "gnus-sum" ())
(declare-function gnus-summary-prepare "gnus-sum" ())
(declare-function gnus-summary-remove-list-identifiers "gnus-sum" ())
(declare-function mail-header-number "nnheader" (cl-x) t)
(declare-function mailsync-gnus--wake "mailsync-gnus" ())
(declare-function mailsync-log-add "mailsync-log" (level format &rest args))
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
                (with-current-buffer buffer
                  (and (eq major-mode 'gnus-summary-mode)
                       (not (bound-and-true-p gnus-dead-summary-mode))
                       (equal gnus-newsgroup-name group)
                       (not (gnus-ephemeral-group-p group))
                       (numberp gnus-newsgroup-highest))))
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

;;;; What others do to the articles of an open Summary

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
  (setq mailsync-gnus--summary-timer nil)
  (let ((refusal (and (mailsync-gnus-ready-p) (mailsync-gnus--refusal))))
    (cond
     ((not (mailsync-gnus-ready-p)) (mailsync-gnus--summary-drop))
     ((memq refusal '(busy input))
      (setq mailsync-gnus--summary-timer
            (run-with-idle-timer mailsync-gnus-idle-delay nil
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
          (run-at-time mailsync-gnus-imap-timeout nil
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

(provide 'mailsync-gnus-summary)
;;; mailsync-gnus-summary.el ends here
