;;; notify-server.el --- A notification server for the tests  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Run in an `emacs -Q --batch', on a bus of the tests' own.  It writes
;; each call down in the file that NOTIFY_FILE names, one a line, as Lisp.
;; NOTIFY_CAPABILITIES is what it says it can do, with spaces between.
;; A file NOTIFY_FILE.signal with a list (SIGNAL ID ARGUMENT) has it send
;; that, and is removed.

;;; Code:

(require 'dbus)

(defconst notify-server--name "org.freedesktop.Notifications")
(defconst notify-server--path "/org/freedesktop/Notifications")
(defvar notify-server--id 0 "The number of the last notification.")

(defun notify-server--say (&rest fact)
  "Write down FACT."
  (let ((coding-system-for-write 'utf-8)
        (print-escape-newlines t))
    (write-region (format "%S\n" fact) nil (getenv "NOTIFY_FILE") t 'silent)))

(defun notify-server--capabilities ()
  "Answer GetCapabilities."
  (list (or (mapcar #'identity
                    (split-string (or (getenv "NOTIFY_CAPABILITIES") "")))
            '(:array :signature "s"))))

(defun notify-server--notify (_app replaces _icon title body actions &rest _)
  "Answer Notify: TITLE and BODY with ACTIONS, which REPLACES another one."
  (let ((id (if (zerop replaces)
                (setq notify-server--id (1+ notify-server--id))
              replaces)))
    (notify-server--say 'notify id replaces title body actions)
    (list :uint32 id)))

(defun notify-server--signal ()
  "Send the signal that is asked for."
  (let ((file (concat (getenv "NOTIFY_FILE") ".signal")))
    (when (file-exists-p file)
      (pcase-let ((`(,signal ,id ,argument)
                   (with-temp-buffer
                     (insert-file-contents file)
                     (read (current-buffer)))))
        (delete-file file)
        (dbus-send-signal :session nil notify-server--path notify-server--name
                          signal :uint32 id
                          (if (stringp argument) :string :uint32) argument)))))

(dbus-register-method :session notify-server--name notify-server--path
                      notify-server--name "GetCapabilities"
                      #'notify-server--capabilities)
(dbus-register-method :session notify-server--name notify-server--path
                      notify-server--name "Notify" #'notify-server--notify)
(notify-server--say 'ready)
;; `read-event' is what sees to the bus in batch mode.
(while t
  (notify-server--signal)
  (read-event nil nil 0.05))

;;; notify-server.el ends here
