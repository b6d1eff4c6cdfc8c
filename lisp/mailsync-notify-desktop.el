;;; mailsync-notify-desktop.el --- Desktop notifications of new mail  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Emacs's own `notifications-notify' waits for the answer of the
;; notification server, for 25 seconds if that hangs.  So the calls are
;; made here, by `dbus-call-method-asynchronously', which returns at once
;; even if the bus hangs; only a connection to the bus cannot be made
;; without waiting, so before that it is asked for a sign of life.  There
;; is one call on its way at most: what comes meanwhile waits for its
;; answer, and is said in the echo area if there is none in time.

;;; Code:

(require 'cl-lib)
(require 'seq)
(require 'subr-x)
(require 'mailsync-log)
(require 'mailsync-notify)

;;;; Internal variables

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

;;;; Declarations

(defvar dbus-event-error-functions)
(defvar dbus-registered-objects-table)
(defvar gnus-group-buffer)
(defvar mailsync-new-mail-functions)

(declare-function dbus-call-method-asynchronously "dbus"
                  (bus service path interface method handler &rest args))
(declare-function dbus-event-bus-name "dbus" (event))
(declare-function dbus-event-serial-number "dbus" (event))
(declare-function dbus-init-bus "dbus" (bus &optional private))
(declare-function gnus-alive-p "gnus-util" ())
(declare-function url-unhex-string "url-util" (str &optional allow-newlines))
(declare-function gnus-group-jump-to-group "gnus-group" (group &optional prompt))
(declare-function gnus-group-read-group "gnus-group"
                  (&optional all no-article group select-articles))

;;;; The notification server

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

;;;; The bus

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

(provide 'mailsync-notify-desktop)
;;; mailsync-notify-desktop.el ends here
