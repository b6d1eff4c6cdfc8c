;;; mailsync-notify.el --- Tell the user of new mail  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Two functions for `mailsync-new-mail-functions':
;;
;;     (add-hook 'mailsync-new-mail-functions #'mailsync-notify-desktop)
;;     (add-hook 'mailsync-new-mail-functions #'mailsync-notify-echo)
;;
;; What comes is collected in a digest, of bounded size, until
;; `mailsync-notify-delay' or a quiet time is over; then the digest is
;; shown.  There is one timer for each of the two, only while something
;; waits.
;;
;; Emacs's own `notifications-notify' waits for the answer of the
;; notification server, for 25 seconds if that hangs.  So the calls are
;; made here, by `dbus-call-method-asynchronously', which returns at once
;; even if the bus hangs; only a connection to the bus cannot be made
;; without waiting, so before that it is asked for a sign of life.  There
;; is one call on its way at most: what comes meanwhile waits for its
;; answer, and is said in the echo area if there is none in time.

;;; Code:

(require 'cl-lib)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-gnus-folders)
(require 'mailsync-gnus-moment)
(require 'mailsync-gnus-news)

;;;; Customization

(defgroup mailsync-notify nil
  "How mailsync tells of new mail."
  :group 'mailsync
  :prefix "mailsync-notify-")

(defcustom mailsync-notify-muted-groups nil
  "Groups of which no new mail is told.
Each is the name of a group, with or without its server
\(\"nnml:lists.emacs\", \"lists.emacs\"), or a glob with `*'."
  :type '(repeat string)
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-level 3
  "Tell of new mail in groups of this level or a lower one.
3 is the level at which Gnus subscribes to a group."
  :type 'natnum
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-quiet-times nil
  "When not to tell of new mail, a list of (FROM . TO).
FROM and TO are times of the day, such as \"22:00\" and \"07:00\".
What comes in that time, and is not read by then, is told once,
when it is over."
  :type '(repeat (cons (string :tag "From") (string :tag "To")))
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

(defcustom mailsync-notify-delay 1
  "Seconds to wait for more after a message has come.
What comes in that time is told with it."
  :type 'number
  :group 'mailsync-notify
  :package-version '(mailsync . "0.1.0"))

;;;; Internal variables

(defconst mailsync-notify--groups-max 50
  "Groups that a digest names at most; those beyond are only counted.")

(defconst mailsync-notify--messages-max 5
  "Messages of a group that a digest has at most.")

(defconst mailsync-notify--lines-max 6
  "Lines of a notification.")

(defconst mailsync-notify--text-max 80
  "Characters of a subject, a sender or the name of a group that are shown.")

(defconst mailsync-notify--replace-for 60
  "A notification that is still there is added to for so many seconds.")

(defconst mailsync-notify--answer-timeout 5
  "Wait so many seconds for the answer of the notification server.
The bus may have to start it first.")

(defconst mailsync-notify--silent-for 3600
  "Do not call a server that does not answer again for so many seconds.
Each call that is not answered is kept, here and by the bus.")

(defconst mailsync-notify--ids-max 20
  "Remember so many notifications that may be clicked.")

(defvar mailsync-notify--clock #'current-time
  "The function that says what time it is.")

(defvar mailsync-notify--waiting nil
  "What waits to be shown, an alist from function to a `mailsync-notify--wait'.
The function is called with a digest.")

(cl-defstruct (mailsync-notify--wait
               (:constructor mailsync-notify--make-wait)
               (:copier nil))
  "A digest that waits."
  digest timer
  (tries 0))           ; how often there was no good moment

(cl-defstruct (mailsync-notify--digest
               (:constructor mailsync-notify--make-digest)
               (:copier nil))
  "What came."
  groups               ; ((GROUP COUNT . MESSAGES) ...), the latest last
  (more 0))            ; messages in other groups

;;;; Declarations

(defvar dbus-event-error-functions)
(defvar dbus-registered-objects-table)
(defvar gnus-group-buffer)
(defvar gnus-newsrc-hashtb)
(defvar isearch-mode)
(defvar mailsync-gnus-update-summary)
(defvar mailsync-new-mail-functions)

(declare-function dbus-call-method-asynchronously "dbus"
                  (bus service path interface method handler &rest args))
(declare-function dbus-event-bus-name "dbus" (event))
(declare-function dbus-event-serial-number "dbus" (event))
(declare-function dbus-init-bus "dbus" (bus &optional private))
(declare-function gnus-alive-p "gnus-util" ())
(declare-function gnus-summary-buffer-name "gnus-sum" (group))
(declare-function url-unhex-string "url-util" (str &optional allow-newlines))
(declare-function gnus-group-jump-to-group "gnus-group" (group &optional prompt))
(declare-function gnus-group-read-group "gnus-group"
                  (&optional all no-article group select-articles))

;;;; Digests

(defun mailsync-notify--add (digest group count messages)
  "Add COUNT messages of GROUP, described by MESSAGES, to DIGEST."
  (let ((entry (assoc group (mailsync-notify--digest-groups digest))))
    (cond
     (entry
      (setcdr entry
              (cons (+ count (cadr entry))
                    (seq-take (append messages (cddr entry))
                              mailsync-notify--messages-max))))
     ((nthcdr (1- mailsync-notify--groups-max)
              (mailsync-notify--digest-groups digest))
      (cl-incf (mailsync-notify--digest-more digest) count))
     (t
      (setf (mailsync-notify--digest-groups digest)
            (append (mailsync-notify--digest-groups digest)
                    (list `(,group
                            ,count
                            . ,(seq-take messages
                                         mailsync-notify--messages-max)))))))))

(defun mailsync-notify--merge (earlier later)
  "The digest of what is in EARLIER, which may be nil, and in LATER."
  (let ((digest (mailsync-notify--make-digest)))
    (dolist (part (list earlier later))
      (when part
        (cl-incf (mailsync-notify--digest-more digest)
                 (mailsync-notify--digest-more part))
        (pcase-dolist (`(,group ,count . ,messages)
                       (mailsync-notify--digest-groups part))
          (mailsync-notify--add digest group count messages))))
    digest))

(defun mailsync-notify--unread (group)
  "How many messages Gnus has for unread in GROUP, nil if that is not known."
  (when (boundp 'gnus-newsrc-hashtb)
    (let ((unread (mailsync-gnus--unread group)))
      (and (numberp unread) unread))))

(defun mailsync-notify--still (digest)
  "What in DIGEST is unread still."
  (let ((still (mailsync-notify--make-digest
                :more (mailsync-notify--digest-more digest))))
    (pcase-dolist (`(,group ,count . ,messages)
                   (mailsync-notify--digest-groups digest))
      (let ((count (min count (or (mailsync-notify--unread group) count))))
        (when (> count 0)
          (mailsync-notify--add still group count messages))))
    still))

(defun mailsync-notify--empty-p (digest)
  "Non-nil if there is nothing in DIGEST."
  (and (null (mailsync-notify--digest-groups digest))
       (zerop (mailsync-notify--digest-more digest))))

;;;; What is told, and when

(defun mailsync-notify--muted-p (group)
  "Non-nil if GROUP is in `mailsync-notify-muted-groups'."
  (let ((case-fold-search nil)
        (names (list group (mailsync-gnus--real-name group))))
    (cl-some (lambda (glob)
               (let ((regexp (concat "\\`"
                                     (mapconcat #'regexp-quote
                                                (split-string glob "\\*")
                                                ;; Any character at all.
                                                "[^z-a]*")
                                     "\\'")))
                 (cl-some (lambda (name) (string-match-p regexp name)) names)))
             mailsync-notify-muted-groups)))

(defun mailsync-notify--wanted-p (group)
  "Non-nil if the user wants to be told of new mail in GROUP."
  (let ((info (and (boundp 'gnus-newsrc-hashtb) (mailsync-gnus--info group))))
    (and (or (null info)
             (<= (mailsync-gnus--level info) mailsync-notify-level))
         (not (mailsync-notify--muted-p group)))))

(defun mailsync-notify--minute (text)
  "The minute of the day that TEXT, \"HH:MM\", stands for; nil if it is none."
  (when (and (stringp text)
             (string-match "\\`\\([0-9]\\{1,2\\}\\):\\([0-9][0-9]\\)\\'" text))
    (let ((hour (string-to-number (match-string 1 text)))
          (minute (string-to-number (match-string 2 text))))
      (and (<= hour 24) (< minute 60)
           (<= (+ (* 60 hour) minute) 1440)
           (+ (* 60 hour) minute)))))

(defun mailsync-notify--quiet-for ()
  "Seconds until the quiet time is over, nil if it is not quiet now.
A change of the clock is not taken into account: when the time has
passed, it is asked again."
  (let* ((time (decode-time (funcall mailsync-notify--clock)))
         (now (+ (* 3600 (nth 2 time)) (* 60 (nth 1 time))
                 (floor (float-time (nth 0 time)))))
         (longest nil))
    (dolist (quiet mailsync-notify-quiet-times)
      (let ((from (mailsync-notify--minute (car-safe quiet)))
            (to (mailsync-notify--minute (cdr-safe quiet))))
        (if (not (and from to))
            (mailsync--once (list 'notify-quiet quiet) 'error
                            "`mailsync-notify-quiet-times' has %S, \
which is not like (\"22:00\" . \"07:00\")" quiet)
          (let* ((from (* 60 from))
                 (to (* 60 to))
                 ;; The same time twice is the whole day.
                 (length (let ((length (mod (- to from) 86400)))
                           (if (zerop length) 86400 length)))
                 (since (mod (- now from) 86400)))
            (when (< since length)
              (setq longest (max (or longest 0) (- length since))))))))
    longest))

(defun mailsync-notify--collect (show changes)
  "Have SHOW called, when it is time, with a digest of CHANGES."
  (let ((digest (mailsync-notify--make-digest)))
    (dolist (change changes)
      (pcase-dolist (`(,group ,old ,new) (plist-get change :groups))
        (when (mailsync-notify--wanted-p group)
          (mailsync-notify--add
           digest group
           (or (cdr (assoc group (plist-get change :arrived)))
               (max 1 (- (or new 0) (or old 0))))
           (cl-remove-if-not (lambda (message)
                               (equal (plist-get message :group) group))
                             (plist-get change :messages))))))
    (unless (mailsync-notify--empty-p digest)
      (mailsync-notify--put-off show digest mailsync-notify-delay))))

(defun mailsync-notify--put-off (show digest seconds &optional tries)
  "Have SHOW called with DIGEST in SECONDS, or when it is quiet no more.
TRIES is how often there was no good moment.  If something waits
already, it is told together, when that is due."
  (let ((wait (cdr (assq show mailsync-notify--waiting))))
    (unless wait
      (setq wait (mailsync-notify--make-wait))
      (setf (mailsync-notify--wait-tries wait) (or tries 0)
            (mailsync-notify--wait-timer wait)
            (run-at-time (max seconds (or (mailsync-notify--quiet-for) 0)) nil
                         #'mailsync-notify--due show))
      (push (cons show wait) mailsync-notify--waiting))
    (setf (mailsync-notify--wait-digest wait)
          (mailsync-notify--merge (mailsync-notify--wait-digest wait) digest))))

(defun mailsync-notify--due (show)
  "Show by SHOW what waits for that, unless it is quiet now."
  (let* ((wait (cdr (assq show mailsync-notify--waiting)))
         (digest (and wait (mailsync-notify--still
                            (mailsync-notify--wait-digest wait)))))
    (setq mailsync-notify--waiting
          (assq-delete-all show mailsync-notify--waiting))
    (cond
     ((or (null digest) (mailsync-notify--empty-p digest)))
     ((mailsync-notify--quiet-for)
      (mailsync-notify--put-off show digest 0))
     (t
      (condition-case err
          (funcall show digest (mailsync-notify--wait-tries wait))
        (error
         (mailsync--once (list 'notify show) 'error
                         "cannot tell of new mail: %s"
                         (error-message-string err))))))))

;;;; In words

(defun mailsync-notify--clean (text)
  "TEXT, which anybody may have written, as it may be shown."
  (mailsync-gnus-news-clean text mailsync-notify--text-max))

(defun mailsync-notify--name (group)
  "The name of GROUP as it is shown."
  (mailsync-notify--clean (mailsync-gnus--real-name group)))

(defun mailsync-notify--describe (message separator)
  "Sender and subject of MESSAGE with SEPARATOR between, nil if not known."
  (let ((sender (mailsync-notify--clean (or (plist-get message :sender) "")))
        (subject (mailsync-notify--clean (or (plist-get message :subject) ""))))
    (unless (and (string-empty-p sender) (string-empty-p subject))
      (concat sender
              (unless (or (string-empty-p sender) (string-empty-p subject))
                separator)
              subject))))

(defun mailsync-notify--group-line (entry)
  "One line for ENTRY of a digest."
  (pcase-let* ((`(,group ,count . ,messages) entry)
               (text (and (= count 1)
                          (mailsync-notify--describe (car messages) ", "))))
    (concat (mailsync-notify--name group)
            (cond (text (concat ": " text))
                  ((> count 1) (format " (%d)" count))))))

(defun mailsync-notify--total (digest)
  "The number of messages in DIGEST."
  (apply #'+ (mailsync-notify--digest-more digest)
         (mapcar #'cadr (mailsync-notify--digest-groups digest))))

(defun mailsync-notify--echo-text (digest width)
  "DIGEST in a line of WIDTH characters."
  (let* ((more (mailsync-notify--digest-more digest))
         (line (concat "Mail: "
                       (mapconcat #'mailsync-notify--group-line
                                  (mailsync-notify--digest-groups digest) ", ")
                       (when (> more 0) (format ", others (%d)" more)))))
    (truncate-string-to-width line width nil nil "…")))

(defun mailsync-notify--shorten (lines)
  "LINES, or the first of them and how many there are besides."
  (if (<= (length lines) mailsync-notify--lines-max)
      lines
    (append (seq-take lines (1- mailsync-notify--lines-max))
            (list (format "and %d more" (- (length lines)
                                           (1- mailsync-notify--lines-max)))))))

(defun mailsync-notify--texts (digest)
  "A cons of a title and a list of lines, for DIGEST."
  (let ((groups (mailsync-notify--digest-groups digest))
        (total (mailsync-notify--total digest)))
    (if (and (null (cdr groups)) (zerop (mailsync-notify--digest-more digest)))
        (pcase-let* ((`(,group ,count . ,messages) (car groups))
                     (lines (delq nil
                                  (mapcar (lambda (message)
                                            (mailsync-notify--describe message ": "))
                                          messages))))
          (cons (concat "Mail: " (mailsync-notify--name group)
                        (when (> count 1) (format " (%d)" count)))
                (append lines
                        (when (and lines (> count (length lines)))
                          (list (format "and %d more"
                                        (- count (length lines))))))))
      (cons (format "Mail: %d messages" total)
            (mailsync-notify--shorten
             (append (mapcar #'mailsync-notify--group-line groups)
                     (when (> (mailsync-notify--digest-more digest) 0)
                       (list (format "others (%d)"
                                     (mailsync-notify--digest-more digest))))))))))

(defun mailsync-notify--escape (text)
  "TEXT without markup, for a server that understands some."
  (replace-regexp-in-string
   "[&<>]"
   (lambda (char) (pcase char ("&" "&amp;") ("<" "&lt;") (_ "&gt;")))
   text t t))

;;;; The echo area

(defvar mailsync-notify--echoed nil
  "What was said last in the echo area, (TEXT . DIGEST).")

(defvar mailsync-notify--in-the-way nil
  "Somebody else's message in the echo area, as it was at the last attempt.")

(defun mailsync-notify--echo-busy-p ()
  "Non-nil if something is in the echo area that must not be covered.
An old message may be, which stays until the user touches a key."
  (let ((message (current-message)))
    (or (> (minibuffer-depth) 0)
        cursor-in-echo-area
        (bound-and-true-p isearch-mode)
        executing-kbd-macro
        defining-kbd-macro
        overriding-terminal-local-map
        (input-pending-p)
        (not (mailsync-gnus--clean-stack-p))
        (and message
             (not (equal message (car mailsync-notify--echoed)))
             (not (equal message mailsync-notify--in-the-way))
             (progn (setq mailsync-notify--in-the-way message) t)))))

(defun mailsync-notify--echo (digest &optional tries)
  "Say in the echo area what DIGEST has.
If it is in use, do so later; TRIES is how often that was so."
  (if (mailsync-notify--echo-busy-p)
      (let ((tries (1+ (or tries 0))))
        (mailsync-notify--put-off #'mailsync-notify--echo digest
                                  (min 10 (* 1.5 (expt 2 (min tries 3))))
                                  tries))
    (let* ((news (mailsync-notify--out-of-sight digest))
           (grown (and (current-message)
                       (equal (current-message)
                              (car mailsync-notify--echoed))))
           (digest (if grown
                       (mailsync-notify--merge (cdr mailsync-notify--echoed)
                                               news)
                     news))
           (width (1- (frame-width)))
           (text (mailsync-notify--echo-text digest width)))
      (setq mailsync-notify--in-the-way nil)
      (unless (mailsync-notify--empty-p news)
        (setq mailsync-notify--echoed (cons text digest))
        (if (not grown)
            (message "%s" text)
          ;; In *Messages* each message is told once.
          (let ((inhibit-message t))
            (message "%s" (mailsync-notify--echo-text news width)))
          (let ((message-log-max nil))
            (message "%s" text)))))))

(defun mailsync-notify--out-of-sight (digest)
  "What in DIGEST the user does not see coming.
Into a *Summary* that is to be seen it comes by itself, or that says so."
  (if (not (bound-and-true-p mailsync-gnus-update-summary))
      digest
    (let ((rest (mailsync-notify--make-digest
                 :more (mailsync-notify--digest-more digest))))
      (pcase-dolist (`(,group ,count . ,messages)
                     (mailsync-notify--digest-groups digest))
        (unless (get-buffer-window (gnus-summary-buffer-name group) 'visible)
          (mailsync-notify--add rest group count messages)))
      rest)))

;;;###autoload
(defun mailsync-notify-echo (_account changes)
  "Say in the echo area what CHANGES brought.
For `mailsync-new-mail-functions'."
  (mailsync-notify--collect #'mailsync-notify--echo changes))

;;;; The desktop: the notification server

(defconst mailsync-notify--service "org.freedesktop.Notifications"
  "Name of the notification server on the session bus, and of its interface.")

(defconst mailsync-notify--path "/org/freedesktop/Notifications"
  "Where the notification server is.")

(defvar mailsync-notify--session :session
  "The connection to the session bus that others of Emacs use.")

(defvar mailsync-notify--bus nil
  "The connection that is used: that one, or the address of one of our own.")

(defvar mailsync-notify--call nil
  "The key of the call that is not answered yet, t before there is one, or nil.")

(defvar mailsync-notify--call-timer nil
  "The timer that ends waiting for an answer, or nil.")

(defvar mailsync-notify--silent nil
  "Time since when an answer is overdue, or nil.")

(defvar mailsync-notify--asked nil
  "The digest that is being shown, or nil.")

(defvar mailsync-notify--next nil
  "The digest to be shown when the call is answered, or nil.")

(defvar mailsync-notify--shown nil
  "The notifications that may be clicked, ((ID . GROUP) ...), newest first.")

(defvar mailsync-notify--current nil
  "The notification that was shown last, (ID TIME DIGEST), if it is there still.")

(defvar mailsync-notify--probe nil
  "The process that asks the bus for a sign of life, or nil.")

;;;###autoload
(defun mailsync-notify-desktop (_account changes)
  "Show a notification of what CHANGES brought; a click opens the group.
For `mailsync-new-mail-functions'.  Without a notification server,
say it in the echo area."
  (mailsync-notify--collect #'mailsync-notify--desktop changes))

(defun mailsync-notify--desktop (digest &rest _)
  "Show a notification of DIGEST."
  (cond
   ((mailsync-notify--silent-p)
    (mailsync-notify--fall-back digest))
   ((and mailsync-notify--call (null mailsync-notify--silent))
    (setq mailsync-notify--next
          (mailsync-notify--merge mailsync-notify--next digest)))
   (t
    (setq mailsync-notify--asked digest
          mailsync-notify--silent nil
          mailsync-notify--call t)
    (mailsync-notify--await)
    (mailsync-notify--connect))))

(defun mailsync-notify--silent-p ()
  "Non-nil if the server owes an answer, and may give it still."
  (and mailsync-notify--silent
       (mailsync-notify--connected-p mailsync-notify--bus)
       (<= 0
           (- (float-time) mailsync-notify--silent)
           mailsync-notify--silent-for)))

(defun mailsync-notify--await ()
  "Wait for an answer, but not for ever."
  (when (timerp mailsync-notify--call-timer)
    (cancel-timer mailsync-notify--call-timer))
  (setq mailsync-notify--call-timer
        (run-at-time mailsync-notify--answer-timeout nil
                     #'mailsync-notify--failed
                     "the notification server does not answer" t)))

(defun mailsync-notify--answered ()
  "The answer has come: go on with what has waited for it."
  (when (timerp mailsync-notify--call-timer)
    (cancel-timer mailsync-notify--call-timer))
  (setq mailsync-notify--call-timer nil
        mailsync-notify--call nil
        mailsync-notify--silent nil
        mailsync-notify--asked nil)
  (when-let* ((next mailsync-notify--next))
    (setq mailsync-notify--next nil)
    (mailsync-notify--desktop next)))

(defun mailsync-notify--failed (why &optional silent)
  "Say in the echo area what cannot be shown because of WHY.
If the server is SILENT it is not called again before it has answered."
  (let ((digest mailsync-notify--asked))
    (when mailsync-notify--next
      (setq digest (mailsync-notify--merge digest mailsync-notify--next)
            mailsync-notify--next nil))
    (setq mailsync-notify--asked nil
          mailsync-notify--current nil)
    (when (timerp mailsync-notify--call-timer)
      (cancel-timer mailsync-notify--call-timer))
    (setq mailsync-notify--call-timer nil)
    (mailsync-notify--end-probe)
    (if (and silent (consp mailsync-notify--call))
        (setq mailsync-notify--silent (float-time))
      (setq mailsync-notify--call nil
            mailsync-notify--silent nil))
    (mailsync--once '(notify desktop) 'warning
                    "no notification: %s; new mail is told of here" why)
    (when digest
      (mailsync-notify--fall-back digest))))

(defun mailsync-notify--fall-back (digest)
  "Say in the echo area what DIGEST has, unless that is done anyway."
  (unless (and (boundp 'mailsync-new-mail-functions)
               (memq #'mailsync-notify-echo mailsync-new-mail-functions))
    ;; Not at once: this may come from within anything that waits.
    (mailsync-notify--put-off #'mailsync-notify--echo digest 0)))

(defun mailsync-notify--guarded (function &rest args)
  "Call FUNCTION with ARGS; if it signals an error, use the echo area."
  (condition-case err
      (apply function args)
    (error (mailsync-notify--failed (error-message-string err)))))

;;;; The desktop: the bus

(defun mailsync-notify--address ()
  "The address of the session bus, nil if there is none.
Without one, the library would start a bus."
  (or (getenv "DBUS_SESSION_BUS_ADDRESS")
      (when-let* ((runtime (getenv "XDG_RUNTIME_DIR"))
                  (socket (expand-file-name "bus" runtime)))
        (and (file-exists-p socket)
             (concat "unix:path=" socket)))))

(defun mailsync-notify--connect ()
  "Go on when there is a connection to the bus."
  (let ((address (mailsync-notify--address)))
    (require 'url-util)
    (cond
     ((not (featurep 'dbusbind))
      (mailsync-notify--failed "this Emacs was built without D-Bus"))
     ((null address)
      (mailsync-notify--failed "there is no session bus"))
     ((mailsync-notify--find-bus address)
      (mailsync-notify--guarded #'mailsync-notify--ask-capabilities))
     ((string-match "\\`unix:path=\\([^,;]+\\)" address)
      (mailsync-notify--guarded #'mailsync-notify--look-for-life
                                (url-unhex-string (match-string 1 address))
                                address))
     (t
      (mailsync-notify--guarded #'mailsync-notify--open address)))))

(defmacro mailsync-notify--with-bus (bus &rest body)
  "Evaluate BODY, which calls functions of D-Bus for BUS.
For the address in the environment Emacs would take `:session', and
the library, which looks for it in the environment with which Emacs
was started, would start a bus of its own if it is not there."
  (declare (indent 1) (debug t))
  `(let ((process-environment
          (if (stringp ,bus)
              (cons "DBUS_SESSION_BUS_ADDRESS" process-environment)
            process-environment)))
     ,@body))

(defun mailsync-notify--connected-p (bus)
  "Non-nil if Emacs has a connection to BUS."
  (and bus
       (featurep 'dbus)
       (condition-case nil
           (mailsync-notify--with-bus bus
             ;; It is looked up, not asked for.
             (funcall 'dbus-get-unique-name bus) ; not in every Emacs
             t)
         (error nil))))

(defun mailsync-notify--look-for-life (socket address)
  "Connect to the bus at ADDRESS when it has answered at SOCKET.
That cannot be done without waiting for it."
  (let ((process (make-network-process
                  :name "mailsync-notify" :family 'local :service socket
                  :coding 'binary :noquery t :nowait t
                  :filter (lambda (process _answer)
                            (mailsync-notify--lives process address))
                  :sentinel #'ignore)))
    (setq mailsync-notify--probe process)
    (process-send-string
     process
     ;; Who we are, in the words of the D-Bus specification.
     (concat "\0AUTH EXTERNAL "
             (mapconcat (lambda (digit) (format "%02x" digit))
                        (number-to-string (user-uid)) "")
             "\r\n"))))

(defun mailsync-notify--lives (process address)
  "The bus at ADDRESS has said something to PROCESS: connect to it."
  (when (eq process mailsync-notify--probe)
    (mailsync-notify--end-probe)
    ;; Not in a filter, which may run in the middle of anything.
    (run-at-time 0 nil #'mailsync-notify--guarded
                 #'mailsync-notify--open address)))

(defun mailsync-notify--end-probe ()
  "End the process that asks the bus for a sign of life."
  (when (processp mailsync-notify--probe)
    (delete-process mailsync-notify--probe))
  (setq mailsync-notify--probe nil))

(defun mailsync-notify--open (address)
  "Connect to the bus at ADDRESS and go on."
  (require 'dbus)
  (unless (mailsync-notify--find-bus address)
    ;; By its address, which the user may have set in Emacs.
    (mailsync-notify--with-bus address
      (dbus-init-bus address))
    (unless (mailsync-notify--find-bus address)
      (error "Cannot connect to %s" address)))
  (mailsync-notify--ask-capabilities))

(defun mailsync-notify--find-bus (address)
  "Use the connection to the bus at ADDRESS that there is; nil if none.
Emacs takes the address that it was started with for `:session': a
message from there would not be found by the address."
  (setq mailsync-notify--bus
        (seq-find #'mailsync-notify--connected-p
                  (list mailsync-notify--session address))))

(defun mailsync-notify--listen ()
  "Have the bus tell what becomes of notifications.
As `dbus-register-signal' does, which waits for the bus."
  (pcase-dolist (`(,signal . ,handler)
                 '(("ActionInvoked" . mailsync-notify--clicked)
                   ("NotificationClosed" . mailsync-notify--closed)))
    (let* ((key (list :signal mailsync-notify--bus mailsync-notify--service
                      signal))
           (rule (format "type='signal',interface='%s',member='%s',path='%s'"
                         mailsync-notify--service signal mailsync-notify--path))
           (entry (list nil nil mailsync-notify--path handler rule))
           (entries (gethash key dbus-registered-objects-table)))
      (unless (member entry entries)
        (mailsync-notify--with-bus mailsync-notify--bus
          (dbus-call-method-asynchronously
           mailsync-notify--bus "org.freedesktop.DBus" "/org/freedesktop/DBus"
           "org.freedesktop.DBus" "AddMatch" nil rule))
        (puthash key (cons entry entries) dbus-registered-objects-table))))
  (add-hook 'dbus-event-error-functions #'mailsync-notify--error))

(defun mailsync-notify--send (method handler &rest args)
  "Call METHOD of the notification server with ARGS, HANDLER with the answer."
  (setq mailsync-notify--call
        (mailsync-notify--with-bus mailsync-notify--bus
          (apply #'dbus-call-method-asynchronously mailsync-notify--bus
                 mailsync-notify--service mailsync-notify--path
                 mailsync-notify--service method handler args))))

(defun mailsync-notify--ask-capabilities ()
  "Ask the server what it can do, and go on with the answer.
Each time: it may be another one now."
  (when mailsync-notify--asked
    (mailsync-notify--listen)
    (mailsync-notify--send "GetCapabilities"
                           #'mailsync-notify--capabilities-known)))

(defun mailsync-notify--capabilities-known (&optional capabilities &rest _)
  "The server has CAPABILITIES, a list of strings: show what is to be shown."
  (if mailsync-notify--asked
      (mailsync-notify--guarded #'mailsync-notify--show capabilities)
    ;; It was too late.
    (mailsync-notify--answered)))

(defun mailsync-notify--show (capabilities)
  "Have a server with CAPABILITIES show what is to be shown."
  (pcase-let* ((`(,id ,time ,earlier) mailsync-notify--current)
               (again (and id (< (- (float-time) time)
                                 mailsync-notify--replace-for)))
               (earlier (and again (mailsync-notify--still earlier)))
               (digest (mailsync-notify--merge earlier mailsync-notify--asked))
               (`(,title . ,lines) (mailsync-notify--texts digest))
               (body (string-join lines "\n")))
    (setq mailsync-notify--asked digest)
    (cond
     ((not (member "body" capabilities))
      (setq title (string-join (cons title (seq-take lines 1)) ": ")
            body ""))
     ((member "body-markup" capabilities)
      (setq body (mailsync-notify--escape body))))
    (mailsync-notify--send
     "Notify" #'mailsync-notify--notified
     :string "Emacs"
     :uint32 (if again id 0)
     :string "mail-unread"
     :string title
     :string body
     (if (member "actions" capabilities)
         '(:array "default" "Open")
       '(:array :signature "s"))
     '(:array (:dict-entry "category" (:variant :string "email.arrived")))
     :int32 -1)))

(defun mailsync-notify--notified (&optional id &rest _)
  "The notification was shown as ID."
  (when (and (integerp id) mailsync-notify--asked)
    (let ((groups (mailsync-notify--digest-groups mailsync-notify--asked)))
      (setq mailsync-notify--current
            (list id (float-time) mailsync-notify--asked)
            mailsync-notify--shown
            (seq-take (cons (cons id (caar (last groups)))
                            (assq-delete-all id mailsync-notify--shown))
                      mailsync-notify--ids-max))
      ;; Should it break again, that is worth saying.
      (mailsync--once-clear '(notify desktop))))
  (mailsync-notify--answered))

(defun mailsync-notify--error (event error)
  "The bus answers with EVENT, which says ERROR.
For `dbus-event-error-functions'."
  (when (and (consp mailsync-notify--call)
             (ignore-errors
               (equal mailsync-notify--call
                      (list :serial (dbus-event-bus-name event)
                            (dbus-event-serial-number event)))))
    (setq mailsync-notify--call nil)
    (mailsync-notify--failed (or (seq-find #'stringp (reverse error))
                                 "the bus refuses it"))))

(defun mailsync-notify--closed (&optional id &rest _)
  "The notification ID was closed."
  (when (and id (eql id (car mailsync-notify--current)))
    (setq mailsync-notify--current nil))
  ;; A server may say this before it says that it was clicked.
  nil)

(defun mailsync-notify--clicked (&optional id action &rest _)
  "ACTION was chosen in the notification ID."
  (let ((shown (assq id mailsync-notify--shown)))
    (when (and shown (equal action "default"))
      (setq mailsync-notify--shown (delq shown mailsync-notify--shown))
      (when (eql id (car mailsync-notify--current))
        (setq mailsync-notify--current nil))
      ;; Not in here, which may be in the middle of anything.
      (run-at-time 0 nil #'mailsync-notify--open-when-possible (cdr shown) 0))))

;;;; A click

(defun mailsync-notify--open-when-possible (group tries)
  "Open GROUP when no command waits for anything.
TRIES is how often one did."
  (cond
   ((and (zerop (minibuffer-depth)) (mailsync-gnus--clean-stack-p))
    (condition-case err
        (with-local-quit (mailsync-notify-open group))
      (error (message "mailsync: cannot open %s: %s"
                      (mailsync-notify--name group)
                      (error-message-string err)))))
   ((< tries 60)
    (run-at-time 0.5 nil #'mailsync-notify--open-when-possible
                 group (1+ tries)))))

(defun mailsync-notify-open (group)
  "Open GROUP in Gnus, in a frame that is raised."
  (unless (and (fboundp 'gnus-alive-p) (gnus-alive-p))
    (user-error "Gnus is not running"))
  (let* ((window (get-buffer-window gnus-group-buffer t))
         (frame (if window (window-frame window) (selected-frame))))
    (if (display-graphic-p frame)
        (select-frame-set-input-focus frame)
      (select-frame frame))
    (if window
        (select-window window)
      (pop-to-buffer-same-window gnus-group-buffer))
    (gnus-group-jump-to-group group)
    ;; What was read meanwhile is not opened: Gnus would ask how much of
    ;; what is old to show.
    (unless (eql 0 (mailsync-notify--unread group))
      (gnus-group-read-group nil t group))))

(provide 'mailsync-notify)
;;; mailsync-notify.el ends here
