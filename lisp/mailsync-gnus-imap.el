;;; mailsync-gnus-imap.el --- Check nnimap groups without waiting  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; All changed groups of an nnimap server are asked for at once, on a
;; connection of our own, and nobody waits for the answer.  The user's
;; connection is never touched, so neither can spoil the other's answers,
;; and a silent server costs nobody's time.
;;
;; nnimap knows its connections by server and `nntp-server-buffer': binding
;; that to a buffer of ours gives us another one
;; (`mailsync-gnus--with-imap-buffer').  `mailsync-gnus--imap-send' sends
;; what Gnus would send; a function after the process's filter notices that
;; the answer has come; `mailsync-gnus--imap-finish', at a good moment, has
;; nnimap give it to Gnus.  A server is `idle', `asked', then `answered' or
;; `dead', and after that `idle' again.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-check)
(require 'mailsync-gnus-flags)
(require 'mailsync-log)
(require 'mailsync-options)

;;;; Internal variables

(defvar mailsync-gnus--imap-buffer-name " *mailsync nntp*"
  "Name of the buffer by which nnimap knows our connections.
nnimap has one connection per server and `nntp-server-buffer'.")

(defconst mailsync-gnus--imap-backoff-max 600
  "Ask a silent nnimap server again after so many seconds at the latest.")

(defvar mailsync-gnus--imap-servers-asked nil
  "Alist from server name to its `mailsync-gnus--imap'.")

;;;; Declarations

(defvar nnimap-connection-alist)
(defvar nnimap-process-buffers)
(defvar nntp-server-buffer)

(declare-function gnus-dribble-touch "gnus-start" ())
(declare-function gnus-finish-retrieve-group-infos "gnus-int"
                  (command-method infos data))
(declare-function gnus-retrieve-group-data-early "gnus-int"
                  (command-method infos))
(declare-function nnimap-find-process-buffer "nnimap" (buffer))
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))

(declare-function mailsync-gnus--news-begin "mailsync-gnus-news" (group))

;;;; Asking

(cl-defstruct (mailsync-gnus--imap
               (:constructor mailsync-gnus--make-imap)
               (:copier nil))
  "An nnimap server that we ask on a connection of our own."
  name method
  (state 'idle)        ; `idle', `asked', `answered', `dead'
  buffer process       ; of the connection
  token infos old      ; what was asked, and the counts then
  reports              ; what was answered, while headers are asked for
  read                 ; the ranges of read messages then
  tag                  ; of the answer that comes last
  searched             ; end of what was searched for it
  deadline             ; timer
  wake                 ; function to call when the state changed
  (failures 0)         ; in a row
  (not-before 0))      ; time (a float) before which it is not asked

(defun mailsync-gnus--imap-asynchronous-p (method)
  "Non-nil if the groups of METHOD are asked for without waiting."
  (and (eq (car method) 'nnimap)
       (eq mailsync-gnus-check-method 'parts)
       (fboundp 'gnus-retrieve-group-data-early)
       (fboundp 'gnus-finish-retrieve-group-infos)
       (require 'nnimap nil t)
       (fboundp 'nnimap-find-process-buffer)))

(defun mailsync-gnus--imap-server (method)
  "The `mailsync-gnus--imap' of METHOD."
  (let ((name (mailsync-gnus--server-name method)))
    (or (cdr (assoc name mailsync-gnus--imap-servers-asked))
        (let ((server (mailsync-gnus--make-imap :name name)))
          (push (cons name server) mailsync-gnus--imap-servers-asked)
          server))))

(defun mailsync-gnus--imap-wait (server)
  "Seconds until SERVER may be asked, 0 for at once, nil while it is asked."
  (pcase (mailsync-gnus--imap-state server)
    ('idle (max 0 (- (mailsync-gnus--imap-not-before server) (float-time))))
    (_ nil)))

(defmacro mailsync-gnus--with-imap-buffer (&rest body)
  "Evaluate BODY with nnimap using our connections."
  (declare (indent 0) (debug t))
  `(let ((nntp-server-buffer
          (get-buffer-create mailsync-gnus--imap-buffer-name)))
     ,@body))

(defun mailsync-gnus--imap-may-open-p (method)
  "Non-nil if opening a connection to METHOD is unlikely to take long.
That is so if we have one, if Gnus has one, or if the server is
on this machine."
  (or (mailsync-gnus--local-server-p method)
      (condition-case nil
          ;; This connects to nothing: it says whether there is a
          ;; living connection.
          (or (mailsync-gnus--with-imap-buffer
                (nnimap-open-server (nth 1 method) (cddr method) t))
              (nnimap-open-server (nth 1 method) (cddr method) t))
        (error nil))))

(defun mailsync-gnus--imap-sweep ()
  "Kill the buffers of those of our connections that have ended.
nnimap makes a buffer for each connection that it opens, or fails
to open, and never kills one.  What a server has answered stays
until it was read.

nnimap's entries for connections whose buffers are gone go, too.  It
drops one when it looks for that connection again, but of ours it finds
none: they are entered under a buffer that has been killed.  Each would
keep both buffers in memory."
  (let ((unread (mapcar (lambda (entry) (mailsync-gnus--imap-buffer (cdr entry)))
                        (cl-remove 'idle mailsync-gnus--imap-servers-asked
                                   :key (lambda (entry)
                                          (mailsync-gnus--imap-state (cdr entry)))))))
    (dolist (buffer nnimap-process-buffers)
      (when (and (buffer-live-p buffer)
                 ;; It is called after the one that it delivers to.
                 (string-search mailsync-gnus--imap-buffer-name (buffer-name buffer))
                 (not (process-live-p (get-buffer-process buffer)))
                 (not (memq buffer unread)))
        (kill-buffer buffer)))
    (setq nnimap-process-buffers
          (cl-remove-if-not #'buffer-live-p nnimap-process-buffers)
          ;; Each server has its own: this is that of the one asked last.
          nnimap-connection-alist
          (cl-remove-if-not (lambda (entry) (buffer-live-p (nth 1 entry)))
                            nnimap-connection-alist))))

(defun mailsync-gnus--imap-try (method function)
  "Call FUNCTION, which asks METHOD on our connection, and return its value.
It opens the connection if necessary.  If it takes too long or
returns nil, signal an error, and leave nothing behind."
  (unless (mailsync-gnus--imap-may-open-p method)
    (error "The connection to %s is closed" (nth 1 method)))
  (let ((before (process-list))
        (value nil))
    (unwind-protect
        (setq value
              (with-timeout ((mailsync--seconds 'mailsync-gnus-imap-open-timeout) nil)
                (mailsync-gnus--with-imap-buffer
                  (funcall function))))
      (unless value
        (dolist (process (process-list))
          (when (and (not (memq process before))
                     (string-match-p "nnimap" (process-name process)))
            (delete-process process))))
      ;; A connection that ended by itself has been replaced.
      (mailsync-gnus--imap-sweep))
    (or value
        (error "Cannot open another connection to %s" (nth 1 method)))))

(defun mailsync-gnus--imap-early (method infos)
  "Ask METHOD for INFOS on our connection; return nnimap's token."
  (mapc #'mailsync-gnus--ask-since infos)
  (mailsync-gnus--imap-try
   method (lambda () (gnus-retrieve-group-data-early method infos))))

(defun mailsync-gnus--imap-send (method groups wake)
  "Ask the nnimap server METHOD for GROUPS.
Return nil if the question is on its way: WAKE is called without
arguments when there is an answer, or none to be expected.  Then
call `mailsync-gnus--imap-finish'.  Return reports if it failed
or if the answer was there at once."
  (let* ((server (mailsync-gnus--imap-server method))
         (infos (mapcar #'mailsync-gnus--info groups))
         (old (mapcar #'mailsync-gnus--unread groups))
         (failure
          (condition-case err
              (mailsync-gnus--quietly
                (let ((token (mailsync-gnus--imap-early method infos)))
                  (setf (mailsync-gnus--imap-method server) method
                        (mailsync-gnus--imap-infos server) infos
                        (mailsync-gnus--imap-old server) old
                        (mailsync-gnus--imap-read server)
                        (mailsync-gnus--read-ranges infos)
                        (mailsync-gnus--imap-token server) token
                        (mailsync-gnus--imap-wake server) wake
                        (mailsync-gnus--imap-state server) 'asked)
                  (mailsync-gnus--imap-watch server)
                  'asked))
            (error (error-message-string err)))))
    (pcase failure
      ('asked nil)
      ('nil (mailsync-gnus--imap-drop server)
            (mapcar (lambda (group) (list group 'quit nil nil)) groups))
      (_ (mailsync-gnus--imap-failed server)
         (mapcar (lambda (group) (list group failure nil nil)) groups)))))

(defun mailsync-gnus--answer-tag (entry)
  "The tag of the answer that completes ENTRY of nnimap's token."
  (let ((second (nth 1 entry)))
    (if (numberp second) second (car entry))))

(defun mailsync-gnus--imap-watch (server)
  "See to it that the answer of SERVER is noticed, and its absence too."
  (let* ((token (mailsync-gnus--imap-token server))
         (buffer (nnimap-find-process-buffer
                  (get-buffer mailsync-gnus--imap-buffer-name)))
         (process (get-buffer-process buffer))
         (tag (mailsync-gnus--answer-tag (car token))))
    (unless (and process (numberp tag))
      (error "The connection to %s is not as expected"
             (mailsync-gnus--imap-name server)))
    (setf (mailsync-gnus--imap-buffer server) buffer
          (mailsync-gnus--imap-process server) process
          (mailsync-gnus--imap-tag server) tag
          (mailsync-gnus--imap-searched server) 1
          (mailsync-gnus--imap-deadline server)
          (run-at-time (mailsync--seconds 'mailsync-gnus-imap-timeout) nil
                       #'mailsync-gnus--imap-deadline-passed server token nil))
    ;; nnimap reads the buffer, so all goes there; the user's commands
    ;; never use this connection.
    (if (eq (process-filter process) #'internal-default-process-filter)
        (add-function :override (process-filter process)
                      (lambda (process text)
                        (mailsync-gnus--imap-insert process text)
                        (mailsync-gnus--imap-look server token))
                      '((name . mailsync-gnus)))
      (add-function :after (process-filter process)
                    (lambda (&rest _) (mailsync-gnus--imap-look server token))
                    '((name . mailsync-gnus))))
    (add-function :after (process-sentinel process)
                  (lambda (&rest _) (mailsync-gnus--imap-look server token))
                  '((name . mailsync-gnus)))
    (mailsync-gnus--imap-look server token)))

(defun mailsync-gnus--imap-insert (process text)
  "Insert TEXT, which has come from PROCESS, into its buffer.
Emacs's own filter does just that, but it has all mode lines drawn as
well, and a long answer comes in many pieces."
  (when (buffer-live-p (process-buffer process))
    (with-current-buffer (process-buffer process)
      (let ((inhibit-read-only t)
            (mark (process-mark process)))
        (save-excursion
          (goto-char (or (marker-position mark) (point-max)))
          (insert-before-markers text)
          (set-marker mark (point) (current-buffer)))))))

(defun mailsync-gnus--imap-look (server token)
  "Notice whether SERVER has answered what TOKEN stands for, or is gone.
Runs in a process filter: only looks."
  (when (and (eq (mailsync-gnus--imap-state server) 'asked)
             (eq (mailsync-gnus--imap-token server) token))
    (let ((state (cond
                  ((mailsync-gnus--imap-answered-p server) 'answered)
                  ((process-live-p (mailsync-gnus--imap-process server)) nil)
                  (t 'dead))))
      (when state
        (mailsync-gnus--imap-unwatch server)
        (setf (mailsync-gnus--imap-state server) state)
        (funcall (mailsync-gnus--imap-wake server))))))

(defun mailsync-gnus--imap-answered-p (server)
  "Non-nil if the last line that was asked from SERVER has come."
  (let ((buffer (mailsync-gnus--imap-buffer server)))
    (when (buffer-live-p buffer)
      (with-current-buffer buffer
        (save-excursion
          (save-match-data
            (goto-char (min (mailsync-gnus--imap-searched server) (point-max)))
            (beginning-of-line)
            (or (re-search-forward
                 (format "^%d .*\n" (mailsync-gnus--imap-tag server)) nil t)
                (progn (setf (mailsync-gnus--imap-searched server) (point-max))
                       nil))))))))

(defun mailsync-gnus--imap-unwatch (server)
  "Stop watching the connection to SERVER."
  (when (timerp (mailsync-gnus--imap-deadline server))
    (cancel-timer (mailsync-gnus--imap-deadline server))
    (setf (mailsync-gnus--imap-deadline server) nil))
  (let ((process (mailsync-gnus--imap-process server)))
    (when (processp process)
      (remove-function (process-filter process) 'mailsync-gnus)
      (remove-function (process-sentinel process) 'mailsync-gnus))))

(defun mailsync-gnus--imap-deadline-passed (server token again)
  "SERVER did not answer what TOKEN stands for in time.
AGAIN says that it got a second chance: after Emacs was busy for
a while, this timer comes before the answer is read."
  (when (and (eq (mailsync-gnus--imap-state server) 'asked)
             (eq (mailsync-gnus--imap-token server) token))
    (if (not again)
        (setf (mailsync-gnus--imap-deadline server)
              (run-at-time 0.2 nil #'mailsync-gnus--imap-deadline-passed
                           server token t))
      (mailsync-gnus--imap-unwatch server)
      (setf (mailsync-gnus--imap-state server) 'dead)
      (funcall (mailsync-gnus--imap-wake server)))))

;;;; Finishing

(defun mailsync-gnus--imap-finish (server)
  "Give the answer of SERVER to Gnus, and return its reports."
  (let* ((infos (mailsync-gnus--imap-infos server))
         (groups (mapcar #'car infos))
         (old (mailsync-gnus--imap-old server))
         (token (mailsync-gnus--imap-token server))
         (answered (eq (mailsync-gnus--imap-state server) 'answered))
         (refused (and answered (mailsync-gnus--imap-refusals server)))
         (outcome
          (and answered
               (condition-case err
                   (mailsync-gnus--quietly
                     (mailsync-gnus--imap-take
                      server infos token refused)
                     'checked)
                 (error (error-message-string err))))))
    (cond
     ((eq outcome 'checked)
      (setf (mailsync-gnus--imap-failures server) 0
            (mailsync-gnus--imap-not-before server) 0)
      (mailsync-gnus--imap-forget server))
     ((and answered (null outcome))
      (setq outcome 'quit)
      (mailsync-gnus--imap-drop server))
     (t
      ;; Whatever it came to where the connection is gone: it is that.
      (unless (and outcome (mailsync-gnus--imap-buffer-p server))
        (setq outcome (format "no answer from %s"
                              (mailsync-gnus--imap-name server))))
      (mailsync-gnus--imap-failed server)))
    (cl-mapcar (lambda (group count)
                 (list group
                       (or (cdr (assoc group refused)) outcome)
                       count
                       (mailsync-gnus--unread group)))
               groups old)))

(defun mailsync-gnus--imap-take (server infos token refused)
  "Give Gnus the answer of SERVER for INFOS, which TOKEN stands for.
The groups in the alist REFUSED are left as they are."
  ;; Not when it was asked: the user may have looked since, and moved.
  (mapc #'mailsync-gnus--news-begin (mapcar #'car infos))
  (let ((flags (with-current-buffer (mailsync-gnus--imap-buffer server)
                 (mailsync-gnus--answered-flags token))))
    (mailsync-gnus--imap-give (mailsync-gnus--imap-method server) infos token)
    (mailsync-gnus--imap-take-flags infos (mailsync-gnus--imap-read server)
                                    flags))
  (mailsync-gnus--imap-count infos refused))

(defun mailsync-gnus--read-ranges (infos)
  "Copies of the ranges of read messages of INFOS."
  (mapcar (lambda (info) (copy-tree (mailsync-gnus--info-read info))) infos))

(defun mailsync-gnus--imap-take-flags (infos read flags)
  "Take from INFOS the marks that are gone according to FLAGS.
READ are the ranges of messages that were read when the server was asked,
FLAGS is the value of `mailsync-gnus--answered-flags'."
  (cl-mapc (lambda (info ranges)
             (if (mailsync-gnus--take-flags-away
                  info ranges
                  (cdr (assoc (mailsync-gnus--real-name (car info)) flags)))
                 (puthash (car info) t mailsync-gnus--flags-open)
               (remhash (car info) mailsync-gnus--flags-open)
               (mailsync-gnus--flags-were-read info)))
           infos read))

(defun mailsync-gnus--imap-give (method infos token)
  "Have Gnus take the answer of METHOD for INFOS, which TOKEN stands for."
  ;; The answer is there.  Should nnimap wait for more all the same,
  ;; it shall not wait long.
  (unless (with-timeout ((mailsync--seconds 'mailsync-gnus-imap-open-timeout) nil)
            (mailsync-gnus--with-imap-buffer
              (gnus-finish-retrieve-group-infos method infos token))
            t)
    (error "The answer of %s is not complete" (nth 1 method))))

(defun mailsync-gnus--imap-count (infos refused)
  "Count and draw the groups of INFOS, except those in the alist REFUSED."
  (let ((changed nil))
    (dolist (info infos)
      (let ((group (car info)))
        (when (and (not (assoc group refused))
                   (mailsync-gnus--entry group))
          (let ((old (mailsync-gnus--unread group)))
            (mailsync-gnus--count-and-draw info t)
            (unless (eql old (mailsync-gnus--unread group))
              (setq changed t))))))
    ;; As Gnus does, so that it offers to save what was learnt.
    (when changed (gnus-dribble-touch))))

(defun mailsync-gnus--imap-refusals (server)
  "The groups that SERVER has refused, an alist from group to its words.
Its answer must be there still."
  (let ((refused nil))
    (when (buffer-live-p (mailsync-gnus--imap-buffer server))
      (with-current-buffer (mailsync-gnus--imap-buffer server)
        (save-excursion
          (save-match-data
            (goto-char (point-min))
            (while (re-search-forward
                    "^\\([0-9]+\\) \\(?:NO\\|BAD\\) ?\\([^\r\n]*\\)" nil t)
              (when-let* ((text (match-string 2))
                          (entry (assq (string-to-number (match-string 1))
                                       (mailsync-gnus--imap-token server)))
                          (info (cl-find-if
                                 (lambda (info)
                                   (equal (mailsync-gnus--real-name (car info))
                                          (nth 3 entry)))
                                 (mailsync-gnus--imap-infos server))))
                (push (cons (car info) text) refused)))))))
    refused))

(defun mailsync-gnus--imap-forget (server)
  "Forget what SERVER was asked."
  (mailsync-gnus--imap-unwatch server)
  (setf (mailsync-gnus--imap-state server) 'idle
        (mailsync-gnus--imap-token server) nil
        (mailsync-gnus--imap-infos server) nil
        (mailsync-gnus--imap-old server) nil
        (mailsync-gnus--imap-read server) nil
        (mailsync-gnus--imap-reports server) nil))

(defun mailsync-gnus--imap-buffer-p (server)
  "Non-nil if the buffer with the answers of SERVER is there."
  (buffer-live-p (mailsync-gnus--imap-buffer server)))

(defun mailsync-gnus--imap-drop (server)
  "Close our connection to SERVER: an answer that is on its way is lost."
  (mailsync-gnus--imap-forget server)
  (let ((process (mailsync-gnus--imap-process server))
        (buffer (mailsync-gnus--imap-buffer server)))
    (setf (mailsync-gnus--imap-process server) nil
          (mailsync-gnus--imap-buffer server) nil)
    (when (processp process) (delete-process process))
    (when (buffer-live-p buffer) (kill-buffer buffer))))

(defun mailsync-gnus--imap-failed (server)
  "Close our connection to SERVER, and do not ask it for a while."
  (mailsync-gnus--imap-drop server)
  (let ((failures (cl-incf (mailsync-gnus--imap-failures server))))
    (setf (mailsync-gnus--imap-not-before server)
          (+ (float-time)
             (if (= failures 1)
                 ;; Most often just a connection that got old.
                 1
               (min mailsync-gnus--imap-backoff-max
                    (* (mailsync--seconds 'mailsync-gnus-imap-timeout)
                       (expt 2 (min (1- failures) 10)))))))))

(defun mailsync-gnus--imap-close-all ()
  "Close all our connections, forget the servers, leave nothing behind."
  (pcase-dolist (`(,_ . ,server) mailsync-gnus--imap-servers-asked)
    (mailsync-gnus--imap-drop server))
  (when mailsync-gnus--imap-servers-asked
    (mailsync-gnus--imap-sweep))
  (setq mailsync-gnus--imap-servers-asked nil)
  (when-let* ((buffer (get-buffer mailsync-gnus--imap-buffer-name)))
    (kill-buffer buffer)))

(defun mailsync-gnus--imap-in-state (&rest states)
  "The servers that are in one of STATES."
  (cl-loop for (_ . server) in mailsync-gnus--imap-servers-asked
           when (memq (mailsync-gnus--imap-state server) states)
           collect server))

;;;; Asking and waiting

(defun mailsync-gnus--imap-check-now (method infos)
  "Ask METHOD for INFOS and wait for the answer; return `checked'.
Signals an error if there is none."
  (let* ((server (mailsync-gnus--imap-server method))
         ;; An answer that is on its way to our connection would be
         ;; taken for this one.
         (mailsync-gnus--imap-buffer-name
          (if (eq (mailsync-gnus--imap-state server) 'idle)
              mailsync-gnus--imap-buffer-name
            (concat mailsync-gnus--imap-buffer-name " now")))
         (read (mailsync-gnus--read-ranges infos))
         (token (mailsync-gnus--imap-early method infos))
         ;; nnimap takes it to pieces.
         (asked (copy-sequence token))
         (process-buffer (nnimap-find-process-buffer
                          (get-buffer mailsync-gnus--imap-buffer-name)))
         (done nil))
    (setf (mailsync-gnus--imap-method server) method)
    (mapc #'mailsync-gnus--news-begin (mapcar #'car infos))
    (unwind-protect
        (setq done (with-timeout ((mailsync--seconds 'mailsync-gnus-imap-timeout) nil)
                     (mailsync-gnus--with-imap-buffer
                       (gnus-finish-retrieve-group-infos method infos token))
                     (mailsync-gnus--imap-take-flags
                      infos read
                      (with-current-buffer process-buffer
                        (mailsync-gnus--answered-flags asked)))
                     t))
      (unless (and done (eq (mailsync-gnus--imap-state server) 'idle))
        ;; Killing the buffer ends its process as well.
        (when (buffer-live-p process-buffer) (kill-buffer process-buffer)))
      (when (eq (mailsync-gnus--imap-state server) 'idle)
        (setf (mailsync-gnus--imap-buffer server) process-buffer
              (mailsync-gnus--imap-process server)
              (and (buffer-live-p process-buffer)
                   (get-buffer-process process-buffer)))))
    (unless done
      (error "No answer from %s" (nth 1 method)))
    (dolist (info infos)
      (mailsync-gnus--count-and-draw info t))
    'checked))

(defun mailsync-gnus--imap-check-groups (method groups)
  "Ask METHOD for GROUPS, wait for the answer, and return their reports."
  (let* ((old (mapcar #'mailsync-gnus--unread groups))
         (outcome (condition-case err
                      (or (mailsync-gnus--quietly
                            (mailsync-gnus--imap-check-now
                             method (mapcar #'mailsync-gnus--info groups)))
                          'quit)
                    (error (error-message-string err)))))
    (cl-mapcar (lambda (group count)
                 (list group outcome count (mailsync-gnus--unread group)))
               groups old)))

(provide 'mailsync-gnus-imap)
;;; mailsync-gnus-imap.el ends here
