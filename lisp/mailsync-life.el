;;; mailsync-life.el --- How mailsync begins, goes over to another configuration, and ends  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What `mailsync-mode' does.  Loading this loads all that a running mailsync
;; needs but Gnus's side of it, and nothing starts by that.

;;; Code:

(require 'mailsync)
(require 'mailsync-log)
(require 'mailsync-accounts)
(require 'mailsync-dispatch)
(require 'mailsync-history)
(require 'mailsync-module)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-sync)
(require 'mailsync-status)
(require 'mailsync-folders)
(require 'mailsync-menu)

;;;; Declarations

(autoload 'mailsync-discover-begin "mailsync-discover")
(autoload 'mailsync-discover-end "mailsync-discover")

(declare-function mailsync-gnus-setup "mailsync-gnus")
(declare-function mailsync-gnus-teardown "mailsync-gnus")
(declare-function mailsync-module--check "ext:mailsync-engine")
(declare-function mailsync-module--configure "ext:mailsync-engine")
(declare-function mailsync-module--farewell "ext:mailsync-engine")
(declare-function mailsync-module--listen "ext:mailsync-engine")
(declare-function mailsync-module--start "ext:mailsync-engine")
(declare-function mailsync-module--stop "ext:mailsync-engine")

;;;; Internal variables

(defvar mailsync--watching nil
  "Non-nil while accounts are watched.")

(defvar mailsync--configure-timer nil
  "The timer that goes over to a new configuration, or nil.")

;;;; Commands

;;;###autoload
(defun mailsync-restart ()
  "Go over to the configuration as it is now; start if mailsync is off.
What stays as it was goes on being watched without a gap; only the
difference is begun or ended.  What failed is begun anew."
  (interactive)
  (when mailsync-mode
    ;; After an upgrade these Lisp files may be newer than the engine, which goes on as it is.
    (mailsync-module-load))
  (mailsync--undisturbed
   (lambda ()
     (cond
      ((not mailsync-mode) (mailsync-start))
      ((mailsync--reconfigure)
       ;; Which servers of Gnus's are meant may have changed.
       (mailsync--meet-gnus))
      (t (mailsync-stop)
         (mailsync-start))))))

;;;###autoload
(defun mailsync-check (&optional account)
  "Have every folder of ACCOUNT checked now; of all accounts if it is nil.
Interactively, a prefix argument asks for the account."
  (interactive
   (list (and current-prefix-arg mailsync-mode
              (completing-read "Check account: " (mailsync--account-names)
                               nil t))))
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (mailsync--call #'mailsync-module--check
                  (and account (mailsync-pipe-encode-text account))
                  nil))

;;;; Another configuration

(defun mailsync--reconfigure (&optional quietly)
  "Have the engine watch the accounts as they are configured now.
Return nil if there is no engine that could.  QUIETLY means that
the user has not asked for it: what was said is not said again."
  (mailsync--cancel-reconfigure)
  (when (process-live-p mailsync--pipe)
    (unless quietly
      (mailsync--once-clear))
    (mailsync--expect-discovery)
    (let* ((accounts (mailsync-accounts-read))
           (vector (mailsync-accounts-for-module accounts)))
      (when (condition-case nil
                (mailsync-module--configure vector (not quietly))
              (error nil))
        (mailsync--keep-states (mapcar #'car accounts))
        (mailsync-sync-keep vector)
        (mailsync--listen)
        (mailsync-log-add 'info "configured anew: %s"
                          (mapconcat #'car accounts ", "))
        (when (or (eq mailsync-accounts--discovered 'looking)
                  (not (or quietly mailsync-accounts)))
          (mailsync-discover-begin))
        t))))

(defun mailsync--expect-discovery ()
  "Where no account is configured, what was discovered holds, or will."
  (cond
   (mailsync-accounts
    (setq mailsync-accounts--discovered nil))
   ((null mailsync-accounts--discovered)
    (setq mailsync-accounts--discovered 'looking))))

(defun mailsync--discovered (accounts)
  "ACCOUNTS are what stands for `mailsync-accounts' while that is nil."
  (let ((accounts (or accounts 'default)))
    (when (and mailsync--watching (null mailsync-accounts)
               (not (equal accounts mailsync-accounts--discovered)))
      (setq mailsync-accounts--discovered accounts)
      (mailsync--reconfigure t)
      (mailsync--meet-gnus))))

(defun mailsync--cancel-reconfigure ()
  "An option that changed needs no more than is being done."
  (when (timerp mailsync--configure-timer)
    (cancel-timer mailsync--configure-timer))
  (setq mailsync--configure-timer nil))

(defun mailsync--configuration-changed (&optional seconds)
  "Go over to the new configuration when all of it is set, or in SECONDS."
  (when (and mailsync-mode (not mailsync--configure-timer))
    (setq mailsync--configure-timer
          (run-at-time (or seconds 0) nil #'mailsync--undisturbed
                       (lambda ()
                         (setq mailsync--configure-timer nil)
                         (when mailsync-mode
                           (mailsync-restart)))))))

;;;; Beginning and end

(defun mailsync--turn ()
  "Do what the value of `mailsync-mode' says."
  (cond
   ((not mailsync-mode)
    (mailsync--stop))
   ;; Gnus reads .gnus.el, and so turns this on, each time it starts.
   (mailsync--watching
    (mailsync--meet-gnus))
   (t
    (let ((started nil))
      (unwind-protect
          (condition-case err
              (progn
                (mailsync--start)
                (setq started t))
            ((error quit)
             (mailsync-log-add 'error "not started: %s" (error-message-string err))
             (signal (car err) (cdr err))))
        ;; What is the user's, a syncer for one, may throw as well.
        (unless started
          (setq mailsync-mode nil)
          (mailsync--stop)))))))

(defun mailsync--start ()
  "Start the engine, and watch."
  (mailsync-module-load)
  (mailsync--once-clear)
  ;; One that runs a syncer of no account goes on doing that.
  (unless mailsync--running
    (mailsync--prepare))
  (mailsync--expect-discovery)
  (let* ((accounts (mailsync-accounts-read))
         (vector (mailsync-accounts-for-module accounts)))
    (setq mailsync--states (mapcar (lambda (account)
                                     (list (car account) 'starting))
                                   accounts))
    (mailsync-history-keep (mapcar #'car accounts))
    (mailsync-sync-keep vector)
    (setq mailsync--watching t)
    (if mailsync--pipe
        (mailsync-module--configure vector t)
      (mailsync--start-engine vector)))
  (mailsync--listen)
  (unless mailsync-accounts
    (mailsync-discover-begin))
  (mailsync-status-update)
  (if (featurep 'gnus)
      (mailsync--meet-gnus)
    (eval-after-load 'gnus #'mailsync--meet-gnus))
  (mailsync-log-add 'info "started: mailsync %s, Emacs %s"
                    mailsync-module--version-wanted emacs-version))

(defun mailsync--prepare ()
  "Forget what an earlier engine told."
  (setq mailsync--running (list t)
        mailsync--incoming (make-hash-table :test #'equal)
        mailsync--incoming-notices nil
        mailsync--taken nil
        mailsync--generation 0
        mailsync--breaks nil
        mailsync--states nil
        mailsync--troubles nil)
  (mailsync-remote-keep nil))

(defun mailsync--start-engine (accounts)
  "Start the engine with ACCOUNTS, as the module wants them."
  (mailsync--open-pipe
   (lambda (process generation)
     (mailsync-module--start process generation accounts
                             (mailsync--runtime-directory))))
  (add-hook 'suspend-hook #'mailsync--suspend)
  (add-hook 'suspend-resume-hook #'mailsync--continue)
  (add-hook 'kill-emacs-hook #'mailsync--farewell)
  (add-function :before command-error-function #'mailsync--quit))

(defun mailsync--runtime-directory ()
  "The directory of the user's session as the module wants it, or nil."
  (when-let ((runtime (getenv "XDG_RUNTIME_DIR")))
    (mailsync-pipe-encode runtime)))

(defun mailsync--listen ()
  "Have the engine listen as `mailsync-listen' says.
A mistake in it is reported, and stops nothing else."
  (mailsync--call #'mailsync-module--listen
                  (pcase (mailsync--listen-place)
                    ('wrong
                     (mailsync--once (list 'listen mailsync-listen) 'error
                                     "`mailsync-listen' is neither nil nor t \
nor the name of a file on this machine: %S" mailsync-listen)
                     nil)
                    (place place))
                  (mailsync--runtime-directory)
                  (float (mailsync-accounts--delay 'mailsync-check-timeout))))

(defun mailsync--listen-place ()
  "What `mailsync-listen' says, as the module wants it; `wrong' if it is wrong."
  (pcase mailsync-listen
    ('nil nil)
    ('t "")
    ((and (pred stringp)
          (guard (not (equal mailsync-listen "")))
          (guard (not (mailsync--remote-file-p mailsync-listen))))
     (mailsync-pipe-encode (expand-file-name mailsync-listen)))
    (_ 'wrong)))

;; One that is stopped (\`C-z' in a terminal) would answer nobody, and not even say so.
(defun mailsync--suspend ()
  "Have programs that are told what was checked watch by themselves."
  (when (and mailsync-mode mailsync-listen)
    (let ((mailsync-listen nil))
      (mailsync--listen))))

(defun mailsync--continue ()
  "Have programs told again."
  (when (and mailsync-mode mailsync-listen)
    (mailsync--listen)))

(defun mailsync--start-alone ()
  "Start an engine that watches nothing, for a syncer that has no account."
  (mailsync-module-load)
  (mailsync--prepare)
  (condition-case err
      (mailsync--start-engine [])
    ((error quit)
     (mailsync--stop)
     (signal (car err) (cdr err)))))

(defun mailsync--farewell ()
  "Emacs ends: have syncers that run end, too."
  (when (fboundp 'mailsync-module--farewell)
    (mailsync-module--farewell)))

(defun mailsync--stop ()
  "Stop the engine; it ends by itself a moment later."
  (remove-hook 'suspend-hook #'mailsync--suspend)
  (remove-hook 'suspend-resume-hook #'mailsync--continue)
  (remove-hook 'kill-emacs-hook #'mailsync--farewell)
  (remove-function command-error-function #'mailsync--quit)
  (mailsync--cancel-reconfigure)
  (when (featurep 'mailsync-discover)
    (mailsync-discover-end))
  (setq mailsync-accounts--discovered nil)
  (when (fboundp 'mailsync-module--stop)
    (mailsync-module--stop))
  (setq mailsync--watching nil)
  (mailsync-pipe-close-all)
  (dolist (timer (list mailsync--timer mailsync--quit-timer mailsync--doubt-timer))
    (when (timerp timer)
      (cancel-timer timer)))
  (setq mailsync--running nil
        mailsync--pipe nil
        mailsync--timer nil
        mailsync--quit-timer nil
        mailsync--doubt-timer nil
        mailsync--incoming nil
        mailsync--incoming-notices nil
        mailsync--taken nil
        mailsync--requests nil
        mailsync--skipped nil
        mailsync--checking nil
        mailsync--states nil)
  (mailsync-remote-keep nil)
  (mailsync-history-cut-off)
  (clrhash mailsync--batches)
  (clrhash mailsync--unchecked)
  (when (featurep 'mailsync-gnus)
    (mailsync-gnus-teardown))
  ;; Last, since those who are told may start us anew.
  (mailsync-sync-forget "mailsync was stopped")
  (mailsync-status-update))

(defun mailsync--meet-gnus ()
  "Join Gnus if it is loaded and mailsync runs."
  (when (and mailsync-mode (featurep 'gnus))
    (require 'mailsync-gnus)
    (mailsync-gnus-setup)))

(defun mailsync-life-unload-function ()
  "Stop before this is unloaded: nobody could do so afterwards."
  (mailsync-stop)
  nil)

(provide 'mailsync-life)
;;; mailsync-life.el ends here
