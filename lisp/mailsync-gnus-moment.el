;;; mailsync-gnus-moment.el --- Whether Gnus may be asked something now  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; Whether this is a moment at which work may be done in Gnus: Emacs waits
;; for the user in its command loop, the user is idle, and nobody waits for
;; an answer that Gnus would lose.  What is to be done is for
;; mailsync-gnus-work.el; what to do until there is such a moment, for
;; mailsync-gnus.el.

;;; Code:

(require 'cl-lib)
(require 'mailsync-log)
(require 'mailsync-options)

;;;; Internal variables

(defvar mailsync-gnus--running nil
  "Non-nil while groups are being checked.")

;;;; Declarations

(defvar gnus-active-hashtb)
(defvar gnus-group-buffer)
(defvar gnus-inhibit-demon)
(defvar gnus-newsrc-hashtb)
(defvar nntp-server-buffer)

(declare-function gnus-alive-p "gnus-util" ())

;;;; Functions

(defun mailsync-gnus-ready-p ()
  "Non-nil if Gnus is alive and has wholly started."
  (and (fboundp 'gnus-alive-p)
       (gnus-alive-p)
       ;; Half started, or suspended, it is alive without these.
       (hash-table-p (bound-and-true-p gnus-newsrc-hashtb))
       (hash-table-p (bound-and-true-p gnus-active-hashtb))
       (bound-and-true-p nntp-server-buffer)
       (buffer-live-p (get-buffer nntp-server-buffer))
       (get-buffer gnus-group-buffer)
       t))

(defun mailsync-gnus--clean-stack-p ()
  "Non-nil if nobody waits for this timer to return.
A timer also runs while some command waits, perhaps for an
answer that Gnus would then lose.  When Emacs waits for a key in
its command loop, the only function below a timer is the timer's
own.  In batch mode there is no command loop: then it is enough
that it is not Gnus who waits."
  (let ((frames 0)
        (gnus nil))
    (mapbacktrace (lambda (_evaluated function _arguments _flags)
                    (cl-incf frames)
                    (when (and (symbolp function)
                               (string-match-p "\\`\\(?:nn[a-z]+\\|gnus\\)-"
                                               (symbol-name function)))
                      (setq gnus t)))
                  #'timer-event-handler)
    (if noninteractive
        (not gnus)
      (= frames 1))))

(defun mailsync-gnus--idle ()
  "For how many seconds Emacs has been idle, nil if it is not.
In batch mode there is no user, hence nobody to be disturbed."
  (if noninteractive
      1.0e+INF
    (let ((idle (current-idle-time)))
      (and idle (float-time idle)))))

(defun mailsync-gnus--held-up ()
  "What keeps all groups from being checked, however long the user is idle, or nil.
It is a symbol."
  (cond
   ((not (zerop (minibuffer-depth))) 'minibuffer)
   ((or executing-kbd-macro defining-kbd-macro) 'macro)
   ((bound-and-true-p gnus-inhibit-demon) 'demon)))

(defun mailsync-gnus--refusal (&optional busy)
  "Why no group may be checked at this moment, a symbol, or nil.
BUSY non-nil means that the user need not be idle."
  (cond
   ((input-pending-p) 'input)
   ((not (or busy
             (let ((idle (mailsync-gnus--idle)))
               ;; Timers may come a little early.
               (and idle (>= (+ idle 0.01)
                             (mailsync--seconds 'mailsync-gnus-idle-delay))))))
    'busy)
   ((mailsync-gnus--held-up))
   ;; A command waits for its next key, unless the user has gone away:
   ;; some leave their keymap in place until a key comes.
   ((and overriding-terminal-local-map
         (not (> (or (mailsync-gnus--idle) 0) (mailsync--seconds 'mailsync-gnus-max-wait))))
    'keymap)
   (mailsync-gnus--running 'running)
   ((not (mailsync-gnus--clean-stack-p)) 'stack)))

(provide 'mailsync-gnus-moment)
;;; mailsync-gnus-moment.el ends here
