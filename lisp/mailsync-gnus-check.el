;;; mailsync-gnus-check.el --- Check a Gnus group without disturbing the user  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; This program is free software; you can redistribute it and/or modify
;; it under the terms of the GNU General Public License as published by
;; the Free Software Foundation, either version 3 of the License, or
;; (at your option) any later version.

;; This program is distributed in the hope that it will be useful,
;; but WITHOUT ANY WARRANTY; without even the implied warranty of
;; MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.  See the
;; GNU General Public License for more details.

;; You should have received a copy of the GNU General Public License
;; along with this program.  If not, see <https://www.gnu.org/licenses/>.

;;; Commentary:

;; How a group is checked; when, and which, is for mailsync-gnus.el.
;;
;; Gnus's command for this, `gnus-group-get-new-news-this-group', moves
;; point, closes the group, makes an IMAP server expunge and blocks Emacs
;; while a server is silent.  So its parts are called instead, the generic
;; entry points of gnus-int.el:
;;
;; - For nnmaildir, and any other back end, `mailsync-gnus--check-group'
;;   looks at one group and returns.
;; - For nnimap, `mailsync-gnus--imap-send' asks for all changed groups of
;;   a server at once, on a connection of our own, and returns without
;;   waiting.  When the answer has come, `mailsync-gnus--imap-finish' gives
;;   it to Gnus.  The user's connection is never touched, so neither can
;;   spoil the other's answers, and a silent server costs nobody's time.
;;
;; Every check reports a list (GROUP RESULT OLD NEW): RESULT is `checked',
;; `partial' (there is more to do), `quit' (by the user), or a string that
;; says why it failed; OLD and NEW are numbers of unread messages, or nil.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-gnus-folders)

;;;; Customization

(defcustom mailsync-gnus-check-method 'parts
  "How a group is checked.
`parts' calls the parts of Gnus's own command that are needed.
For nnimap it never waits for the server.

`command' calls `gnus-group-get-new-news-this-group' for each
group.  It is slower, makes an IMAP server expunge the messages
that are marked as deleted, and blocks Emacs for as long as a
server does not answer."
  :type '(choice (const :tag "The necessary parts of the command" parts)
                 (const :tag "The command itself" command))
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-imap-timeout 10
  "Seconds to wait for the answer of an nnimap server.
Emacs is not blocked meanwhile.  A server that does not answer in
time is asked again later, on a new connection."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-imap-open-timeout 2
  "Seconds that opening our own connection to an nnimap server may take.
Emacs is blocked meanwhile.  It happens once per server, and only
while Gnus's own connection is open or the server is on this
machine."
  :type 'number
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-split t
  "Whether an nnimap server splits its inbox when that has changed.
This concerns servers that are defined with `nnimap-inbox' and
`nnimap-split-methods', whose mail Gnus splits whenever it looks
for new mail.  Emacs waits for the server meanwhile: a moment for
one on this machine, several round trips for another."
  :type 'boolean
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-gnus-vanished-limit 500
  "Look for vanished messages in groups with at most so many unread ones.
nnmaildir never notices that an unread message was deleted by
another program, and to ask for each unread message takes time
that grows with their number.  In a larger group such messages
stay in the count until you enter the group."
  :type 'natnum
  :group 'mailsync-gnus
  :package-version '(mailsync . "0.1.0"))

;;;; Internal variables

(defconst mailsync-gnus--gc-threshold (* 64 1024 1024)
  "`gc-cons-threshold' during a check.
At its default most of the time of a check is garbage collection.")

(defvar mailsync-gnus--imap-buffer-name " *mailsync nntp*"
  "Name of the buffer by which nnimap knows our connections.
nnimap has one connection per server and `nntp-server-buffer'.")

(defconst mailsync-gnus--imap-backoff-max 600
  "Ask a silent nnimap server again after so many seconds at the latest.")

(defconst mailsync-gnus--arrivals-max 10
  "Let nnmaildir take in so many new messages at most in one go.
Each one costs some milliseconds, for it is read and indexed.")

(defconst mailsync-gnus--arrivals-max-in-hurry 3
  "`mailsync-gnus--arrivals-max' while the user types.")

(defvar mailsync-gnus--hurry nil
  "Non-nil while the user types: do no more than is necessary.")

(defvar mailsync-gnus--partial (make-hash-table :test #'equal)
  "Group, some of whose new messages were taken in, to (OLD . REST).
OLD is the number of unread messages before, REST how many new
messages there were at the last look.")

(defvar mailsync-gnus--directory-files #'directory-files
  "The function by which nnmaildir lists a directory during a check.")

(defvar mailsync-gnus--imap-servers-asked nil
  "Alist from server name to its `mailsync-gnus--imap'.")

;;;; Declarations

(defvar gnus-after-getting-new-news-hook)
(defvar gnus-get-new-news-hook)
(defvar gnus-goto-next-group-when-activating)
(defvar gnus-group-buffer)
(defvar gnus-group-default-list-level)
(defvar gnus-group-marked)
(defvar gnus-group-update-group-hook)
(defvar gnus-inhibit-demon)
(defvar gnus-parameters)
(defvar gnus-verbose)
(defvar gnus-verbose-backends)
(defvar mail-source-ignore-errors)
(defvar nnmail-split-history)
(defvar nnmail-fetched-sources)
(defvar nntp-server-buffer)
(defvar nsm-noninteractive)

(declare-function gnus-activate-group "gnus-start"
                  (group &optional scan dont-check method dont-sub-check))
(declare-function gnus-dribble-touch "gnus-start" ())
(declare-function gnus-find-method-for-group "gnus" (group &optional info))
(declare-function gnus-finish-retrieve-group-infos "gnus-int"
                  (command-method infos data))
(declare-function gnus-get-unread-articles-in-group "gnus-start"
                  (info active &optional update))
(declare-function gnus-group-get-new-news-this-group "gnus-group"
                  (&optional n dont-scan))
(declare-function gnus-group-update-group "gnus-group"
                  (group &optional visible-only info-unchanged))
(declare-function gnus-group-find-parameter "gnus"
                  (group &optional symbol allow-list))
(declare-function gnus-list-of-unread-articles "gnus-sum" (group))
(declare-function gnus-request-scan "gnus-int" (group command-method))
(declare-function gnus-request-update-info "gnus-int" (info command-method))
(declare-function gnus-retrieve-group-data-early "gnus-int"
                  (command-method infos))
(declare-function gnus-retrieve-headers "gnus-int"
                  (articles group &optional fetch-old))
(declare-function gnus-status-message "gnus-int" (command-method))
(declare-function nnimap-find-process-buffer "nnimap" (buffer))
(declare-function nnimap-open-server "nnimap"
                  (server &optional defs no-reconnect))

(declare-function mailsync-log-add "mailsync-log" (level format &rest args))

;;;; Without disturbing

(defmacro mailsync-gnus--quietly (&rest body)
  "Evaluate BODY while Gnus is kept from disturbing the user.
It neither prints nor rings nor asks, and moves no point.  A quit
ends BODY; the value is nil then."
  (declare (indent 0) (debug t))
  `(mailsync-gnus--call-quietly (lambda () ,@body)))

(defun mailsync-gnus--call-quietly (function)
  "Call FUNCTION for `mailsync-gnus--quietly'."
  (let ((inhibit-message t)
        (message-log-max nil)
        (ring-bell-function #'ignore)
        (gnus-verbose 3)
        (gnus-verbose-backends 3)
        (gnus-inhibit-demon t)
        ;; All three: with the first alone, a question about a
        ;; certificate loops for ever.
        (inhibit-interaction t)
        (nsm-noninteractive t)
        (use-dialog-box nil)
        (mail-source-ignore-errors t)
        ;; Non-nil: a check must not fetch mail from elsewhere.
        (nnmail-fetched-sources (list t))
        (gc-cons-threshold (max gc-cons-threshold mailsync-gnus--gc-threshold))
        (deactivate-mark nil)
        (places (mailsync-gnus--places)))
    (unwind-protect
        (save-match-data
          (save-current-buffer
            (with-local-quit (funcall function))))
      (mailsync-gnus--restore-places places))))

(defun mailsync-gnus--places ()
  "Where point is in the *Group* buffer, for each window of it.
Gnus redraws a line by deleting it, which moves a point that is
on it to its beginning."
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (mapcar (lambda (window)
                (save-excursion
                  (when window (goto-char (window-point window)))
                  (list window
                        (get-text-property (line-beginning-position)
                                           'gnus-group)
                        (current-column)
                        (copy-marker (line-beginning-position)))))
              (cons nil (get-buffer-window-list buffer nil t))))))

(defun mailsync-gnus--restore-places (places)
  "Put point back to PLACES, wherever the line of a group was redrawn."
  (when-let* ((buffer (get-buffer gnus-group-buffer)))
    (with-current-buffer buffer
      (pcase-dolist (`(,window ,group ,column ,line) places)
        (when (and group
                   (or (null window)
                       (and (window-live-p window)
                            (eq (window-buffer window) buffer))))
          (let ((place (mailsync-gnus--find-place group column line)))
            (when place
              (if window
                  (unless (= (window-point window) place)
                    (set-window-point window place))
                (goto-char place)))))
        (set-marker line nil)))))

(defun mailsync-gnus--find-place (group column line)
  "The position at COLUMN of GROUP's line, the one next to the marker LINE.
A group has several lines where topics are used."
  (save-excursion
    (goto-char line)
    (beginning-of-line)
    (let ((here (point))
          (best nil))
      (if (equal (get-text-property here 'gnus-group) group)
          (setq best here)
        (goto-char (point-min))
        (while (not (eobp))
          (when (and (equal (get-text-property (point) 'gnus-group) group)
                     (or (null best)
                         (< (abs (- (point) here)) (abs (- best here)))))
            (setq best (point)))
          (goto-char (next-single-property-change (point) 'gnus-group nil
                                                  (point-max)))))
      (when best
        (goto-char best)
        (move-to-column column)
        (point)))))

(defmacro mailsync-gnus--watching-quit (flag &rest body)
  "Evaluate BODY; set FLAG to non-nil if the user quits meanwhile.
Some of Gnus's functions catch a quit and return nil, as they do
when they failed."
  (declare (indent 1) (debug (symbolp body)))
  `(let ((signal-hook-function
          (lambda (symbol _data)
            (when (eq symbol 'quit) (setq ,flag t)))))
     ,@body))

;;;; One group, at once

(defun mailsync-gnus--check-group (group kinds)
  "Check GROUP and return its report.
KINDS say what happened in it.  This waits for the server where there is one."
  (let ((old (mailsync-gnus--unread group))
        (result 'quit)
        (quit nil))
    (setq result
          (condition-case err
              (mailsync-gnus--watching-quit quit
                (or (mailsync-gnus--quietly
                      (if (eq mailsync-gnus-check-method 'command)
                          (mailsync-gnus--check-by-command group)
                        (mailsync-gnus--check-by-parts group kinds)))
                    'quit))
            (error (error-message-string err))))
    (let ((partial (gethash group mailsync-gnus--partial)))
      (when partial
        (if (eq result 'partial)
            (unless (car partial) (setcar partial old))
          (remhash group mailsync-gnus--partial)))
      (list group (if quit 'quit result) (or (car partial) old)
            (mailsync-gnus--unread group)))))

(defun mailsync-gnus--check-by-command (group)
  "Check GROUP by Gnus's own command."
  (with-current-buffer gnus-group-buffer
    (let* ((drawn nil)
           (mark-active nil)
           (gnus-goto-next-group-when-activating nil)
           (gnus-group-marked (list group))
           ;; Once per batch, not once per group: see `mailsync-gnus-run-hooks'.
           (gnus-get-new-news-hook nil)
           (gnus-after-getting-new-news-hook nil)
           ;; The command does not say whether it failed; only a
           ;; group that it could check gets a new line.
           (gnus-group-update-group-hook
            (cons (lambda () (setq drawn t))
                  (ensure-list gnus-group-update-group-hook))))
      (gnus-group-get-new-news-this-group)
      (if drawn 'checked (mailsync-gnus--status-message group)))))

(defun mailsync-gnus--check-by-parts (group kinds)
  "Check GROUP by the parts of the command; KINDS say what happened in it."
  (let ((info (mailsync-gnus--info group))
        (method (gnus-find-method-for-group group)))
    (if (and (eq (car method) 'nnimap)
             (fboundp 'gnus-retrieve-group-data-early))
        (mailsync-gnus--imap-check-now method (list info))
      (when (eq (car method) 'nnmaildir)
        (mailsync-gnus--forget-vanished group kinds))
      (let ((more nil))
        (if (not (mailsync-gnus--with-few-arrivals group method
                   (lambda () (setq more t))
                   (lambda () (gnus-activate-group group 'scan nil method))))
            (mailsync-gnus--status-message group)
          ;; Messages that only arrived are counted without it, and
          ;; it is the expensive part.
          (unless (or more (mailsync-gnus--arrivals-only-p method kinds))
            (gnus-request-update-info info method))
          (mailsync-gnus--count-and-draw info)
          (if more 'partial 'checked))))))

(defun mailsync-gnus--with-few-arrivals (group method more function)
  "Call FUNCTION, which scans GROUP of METHOD, and return its value.
nnmaildir sees a few of many new messages only; then MORE is
called too.  It moves what it sees to cur/, so the next scan sees
the next ones."
  (declare (indent 2))
  (if (not (and (eq (car method) 'nnmaildir)
                (not (assq 'directory-files (cddr method)))
                ;; There it moves nothing.  It asks for its parameters
                ;; by either name.
                (not (gnus-group-find-parameter group 'read-only))
                (not (gnus-group-find-parameter
                      (mailsync-gnus--real-name group) 'read-only))))
      (funcall function)
    (let* ((limit (if mailsync-gnus--hurry
                      mailsync-gnus--arrivals-max-in-hurry
                    mailsync-gnus--arrivals-max))
           (mailsync-gnus--directory-files
            (lambda (directory &rest args)
              (let ((files (apply #'directory-files directory args)))
                (if (and (nthcdr limit files)
                         (equal (file-name-nondirectory
                                 (directory-file-name directory))
                                "new")
                         (mailsync-gnus--fewer-p group (length files)))
                    (mailsync-gnus--oldest directory files limit more)
                  files))))
           ;; A parameter that nnmaildir evaluates; of any group, but
           ;; only this one is scanned.
           (gnus-parameters
            (cons '("" (directory-files . mailsync-gnus--directory-files))
                  gnus-parameters)))
      (funcall function))))

(defun mailsync-gnus--oldest (directory files limit more)
  "The oldest of FILES in DIRECTORY, LIMIT of them; call MORE if some are left.
nnmaildir waits with a file that is dated in the future, so such
a one does not count."
  (let ((rest (sort files #'string<))
        (oldest nil))
    (while (and rest (> limit 0))
      (let ((file (pop rest)))
        (push file oldest)
        (unless (time-less-p nil (file-attribute-modification-time
                                  (file-attributes
                                   (expand-file-name file directory))))
          (setq limit (1- limit)))))
    (when rest (funcall more))
    oldest))

(defun mailsync-gnus--fewer-p (group number)
  "Non-nil if NUMBER new messages in GROUP are fewer than at the last look.
If they are not, something keeps nnmaildir from taking them in
little by little, so it had better see them all."
  (let ((partial (gethash group mailsync-gnus--partial)))
    (cond ((null partial)
           (puthash group (cons nil number) mailsync-gnus--partial))
          ((< number (cdr partial))
           (setcdr partial number)
           t))))

(defun mailsync-gnus--arrivals-only-p (method kinds)
  "Non-nil if METHOD need not be asked for flags after what KINDS say."
  (and (eq (car method) 'nnmaildir)
       (equal kinds '(new))))

(defun mailsync-gnus--forget-vanished (group kinds)
  "Make nnmaildir forget what vanished from GROUP, if KINDS say that some did.
Asking for the headers of a message whose file is gone does that."
  (when (or (memq 'gone kinds) (memq 'unknown kinds))
    (require 'gnus-sum)
    ;; The number shown is cheaper to have than the list, but more
    ;; than the list is never shown.
    (let ((unread (mailsync-gnus--unread group)))
      (when (and unread (< 0 unread) (<= unread mailsync-gnus-vanished-limit))
        (when-let* ((articles (gnus-list-of-unread-articles group)))
          (gnus-retrieve-headers (sort (copy-sequence articles) #'<) group))))))

(defun mailsync-gnus--count-and-draw (info &optional update)
  "Count the unread messages of the group of INFO and draw its line.
UPDATE is that of `gnus-get-unread-articles-in-group'."
  (let* ((group (car info))
         (old (mailsync-gnus--unread group)))
    (gnus-get-unread-articles-in-group info (mailsync-gnus--active group)
                                       update)
    (let ((new (mailsync-gnus--unread group)))
      (gnus-group-update-group
       group
       ;; A line that is not there appears only for new mail, and
       ;; where Gnus would list the group by itself.
       (not (and new (> new 0) (not (eql new old))
                 (<= (mailsync-gnus--level info) gnus-group-default-list-level)))
       t))))

(defun mailsync-gnus--status-message (group)
  "Why GROUP could not be checked, in the words of its server."
  (let ((text (ignore-errors
                (gnus-status-message (gnus-find-method-for-group group)))))
    (if (and (stringp text) (not (string-blank-p text)))
        (string-trim text)
      "No such group")))

;;;; nnimap: asking

(cl-defstruct (mailsync-gnus--imap
               (:constructor mailsync-gnus--make-imap)
               (:copier nil))
  "An nnimap server that we ask on a connection of our own."
  name method
  (state 'idle)        ; `idle', `asked', `answered', `dead'
  buffer process       ; of the connection
  token infos old      ; what was asked, and the counts then
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
              (with-timeout (mailsync-gnus-imap-open-timeout nil)
                (mailsync-gnus--with-imap-buffer
                  (funcall function))))
      (unless value
        (dolist (process (process-list))
          (when (and (not (memq process before))
                     (string-match-p "nnimap" (process-name process)))
            (delete-process process)))))
    (or value
        (error "Cannot open another connection to %s" (nth 1 method)))))

(defun mailsync-gnus--imap-early (method infos)
  "Ask METHOD for INFOS on our connection; return nnimap's token."
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
          (run-at-time mailsync-gnus-imap-timeout nil
                       #'mailsync-gnus--imap-deadline-passed server token nil))
    ;; The filter stays nnimap's own: the user's commands never use
    ;; this connection, but nnimap reads its buffer.
    (add-function :after (process-filter process)
                  (lambda (&rest _) (mailsync-gnus--imap-look server token))
                  '((name . mailsync-gnus)))
    (add-function :after (process-sentinel process)
                  (lambda (&rest _) (mailsync-gnus--imap-look server token))
                  '((name . mailsync-gnus)))
    (mailsync-gnus--imap-look server token)))

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

;;;; nnimap: finishing

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
                      (mailsync-gnus--imap-method server) infos token refused)
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
      (setq outcome (or outcome
                        (format "no answer from %s"
                                (mailsync-gnus--imap-name server))))
      (mailsync-gnus--imap-failed server)))
    (cl-mapcar (lambda (group count)
                 (list group
                       (or (cdr (assoc group refused)) outcome)
                       count
                       (mailsync-gnus--unread group)))
               groups old)))

(defun mailsync-gnus--imap-take (method infos token refused)
  "Give Gnus the answer of METHOD for INFOS, which TOKEN stands for.
The groups in the alist REFUSED are left as they are."
  ;; The answer is there.  Should nnimap wait for more all the same,
  ;; it shall not wait long.
  (unless (with-timeout (mailsync-gnus-imap-open-timeout nil)
            (mailsync-gnus--with-imap-buffer
              (gnus-finish-retrieve-group-infos method infos token))
            t)
    (error "The answer of %s is not complete" (nth 1 method)))
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
            (dolist (entry (mailsync-gnus--imap-token server))
              (goto-char (point-min))
              (when (re-search-forward
                     (format "^%d \\(?:NO\\|BAD\\) ?\\([^\r\n]*\\)" (car entry))
                     nil t)
                (let* ((text (match-string 1))
                       (info (cl-find-if
                              (lambda (info)
                                (equal (mailsync-gnus--real-name (car info))
                                       (nth 3 entry)))
                              (mailsync-gnus--imap-infos server))))
                  (when info
                    (push (cons (car info) text) refused)))))))))
    refused))

(defun mailsync-gnus--imap-forget (server)
  "Forget what SERVER was asked."
  (mailsync-gnus--imap-unwatch server)
  (setf (mailsync-gnus--imap-state server) 'idle
        (mailsync-gnus--imap-token server) nil
        (mailsync-gnus--imap-infos server) nil
        (mailsync-gnus--imap-old server) nil))

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
                    (* mailsync-gnus-imap-timeout
                       (expt 2 (min (1- failures) 10)))))))))

(defun mailsync-gnus--imap-close-all ()
  "Close all our connections, forget the servers, leave nothing behind."
  (pcase-dolist (`(,_ . ,server) mailsync-gnus--imap-servers-asked)
    (mailsync-gnus--imap-drop server))
  (setq mailsync-gnus--imap-servers-asked nil)
  (when-let* ((buffer (get-buffer mailsync-gnus--imap-buffer-name)))
    (kill-buffer buffer)))

(defun mailsync-gnus--imap-in-state (&rest states)
  "The servers that are in one of STATES."
  (cl-loop for (_ . server) in mailsync-gnus--imap-servers-asked
           when (memq (mailsync-gnus--imap-state server) states)
           collect server))

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
         (token (mailsync-gnus--imap-early method infos))
         (process-buffer (nnimap-find-process-buffer
                          (get-buffer mailsync-gnus--imap-buffer-name)))
         (done nil))
    (setf (mailsync-gnus--imap-method server) method)
    (unwind-protect
        (setq done (with-timeout (mailsync-gnus-imap-timeout nil)
                     (mailsync-gnus--with-imap-buffer
                       (gnus-finish-retrieve-group-infos method infos token))
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

;;;; nnimap: splitting

(defun mailsync-gnus--splits-p (group method)
  "Non-nil if GROUP of METHOD is an inbox that Gnus splits."
  (and mailsync-gnus-split
       (eq (car method) 'nnimap)
       (cadr (assq 'nnimap-split-methods (cddr method)))
       (member (mailsync-gnus--real-name group)
               (ensure-list (cadr (assq 'nnimap-inbox (cddr method)))))))

(defun mailsync-gnus--split (method)
  "Have METHOD split its inbox.
Return a list of the groups to which mail went, or `quit', or a
string that says why it failed."
  (require 'nnmail)
  (let ((history nil)
        (server (mailsync-gnus--imap-server method)))
    (condition-case err
        (if (mailsync-gnus--quietly
              (let ((nnmail-split-history nil))
                (if (mailsync-gnus--imap-asynchronous-p method)
                    (mailsync-gnus--split-apart method server)
                  (gnus-request-scan nil method))
                (setq history nnmail-split-history))
              t)
            (progn
              ;; Gnus shows it to the user.
              (setq nnmail-split-history
                    (append history nnmail-split-history))
              (delete-dups
               (cl-loop for message in history
                        append (cl-loop for (group . _) in message
                                        when (stringp group) collect group))))
          (mailsync-gnus--imap-drop server)
          'quit)
      (error (error-message-string err)))))

(defun mailsync-gnus--split-apart (method server)
  "Have METHOD split on our connection, that of SERVER."
  (mailsync-gnus--imap-try
   method
   (lambda () (nnimap-open-server (nth 1 method) (cddr method))))
  (setf (mailsync-gnus--imap-buffer server)
        (nnimap-find-process-buffer
         (get-buffer mailsync-gnus--imap-buffer-name))
        (mailsync-gnus--imap-process server)
        (get-buffer-process (mailsync-gnus--imap-buffer server)))
  (unless (with-timeout (mailsync-gnus-imap-timeout nil)
            (mailsync-gnus--with-imap-buffer
              (gnus-request-scan nil method))
            t)
    (mailsync-gnus--imap-failed server)
    (error "No answer from %s" (nth 1 method))))

;;;; Several groups, at once

(defun mailsync-gnus--check-virtual (group)
  "Sum up what is known of the members of the nnvirtual GROUP; report."
  (let ((old (mailsync-gnus--unread group))
        (info (mailsync-gnus--info group))
        (method (gnus-find-method-for-group group)))
    (list group
          (condition-case err
              (or (mailsync-gnus--quietly
                    ;; The last argument: without talking to servers.
                    (if (not (gnus-activate-group group nil nil method t))
                        (mailsync-gnus--status-message group)
                      (gnus-request-update-info info method)
                      (mailsync-gnus--count-and-draw info)
                      'checked))
                  'quit)
            (error (error-message-string err)))
          old
          (mailsync-gnus--unread group))))

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

(provide 'mailsync-gnus-check)
;;; mailsync-gnus-check.el ends here
