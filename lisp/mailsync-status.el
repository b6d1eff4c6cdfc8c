;;; mailsync-status.el --- How mailsync is doing, in full  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer that `mailsync-status' shows.  It follows, from a timer, while a
;; window shows it.  What the mode line has of all this is
;; mailsync-mode-line.el's business.

;;; Code:

(require 'mailsync-accounts)
(require 'mailsync-log)
(require 'mailsync-mode-line)
(require 'mailsync-module)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-sync-say)
(require 'seq)
(require 'subr-x)

;;;; Internal variables

(defconst mailsync-status--buffer "*mailsync*"
  "Name of the buffer that `mailsync-status' shows.")

(defconst mailsync-status--period 1
  "The buffer is brought up to date once in so many seconds at most.")

(defvar mailsync-status--timer nil
  "The timer that brings the buffer up to date, or nil.")

(defvar mailsync-status--time 0
  "When the buffer was last brought up to date.")

;;;; Declarations

(defvar mailsync-sync--results)
(defvar mailsync--states)
(defvar mailsync--troubles)
(declare-function mailsync-gnus-status "mailsync-gnus")
(declare-function mailsync-output "mailsync-sync-say")
(declare-function mailsync-pause "mailsync-sync")
(declare-function mailsync-resume "mailsync-sync")
(declare-function mailsync-sync "mailsync-sync")
(declare-function mailsync-sync--need "mailsync-sync" (account))
(declare-function mailsync-sync--read-account "mailsync-sync"
                  (prompt &optional others))
(declare-function mailsync-sync-state "mailsync-sync")
(declare-function mailsync-module--status "ext:mailsync-engine")

;;;; The buffer

(defun mailsync-status-update ()
  "Bring the mode line up to date, and soon the buffer, if it is shown."
  (mailsync-status--refresh-soon)
  (mailsync-mode-line-update))

(defvar mailsync-status-mode-map
  (let ((map (make-sparse-keymap)))
    (define-key map "l" #'mailsync-log)
    (define-key map "o" #'mailsync-status-output)
    (define-key map "p" #'mailsync-status-pause)
    (define-key map "s" #'mailsync-status-sync)
    map)
  "Keymap of the buffer that shows how mailsync is doing.")

(define-derived-mode mailsync-status-mode special-mode "Mailsync"
  "Major mode of the buffer that shows how mailsync is doing.

\\{mailsync-status-mode-map}"
  (buffer-disable-undo)
  ;; While no window showed it, it stayed as it was.
  (add-hook 'window-buffer-change-functions
            (lambda (_) (mailsync-status--refresh-soon)) nil t)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-status--fill))))

(defun mailsync-status--account-here (prompt)
  "The account that point is at; ask with PROMPT where there is none."
  (or (get-text-property (point) 'mailsync-account)
      (progn
        (mailsync-sync--need nil)
        (mailsync-sync--read-account prompt))))

(defun mailsync-status-output ()
  "Show what the last sync of the account at point printed."
  (interactive)
  (mailsync-output (mailsync-status--account-here "Output of account")))

(defun mailsync-status-sync ()
  "Sync the account at point now."
  (interactive)
  (mailsync-sync (mailsync-status--account-here "Sync account") nil t))

(defun mailsync-status-pause ()
  "Pause the account at point, or resume it if it is paused."
  (interactive)
  (let* ((account (mailsync-status--account-here "Pause or resume account"))
         (sync (mailsync-sync-state account)))
    (if (or (plist-get sync :paused) (mailsync-remote-paused-p account))
        (mailsync-resume account)
      (mailsync-pause account))))

;;;###autoload
(defun mailsync-status ()
  "Show what is watched, how, what is pending, and what went wrong.
While it is shown it is kept up to date."
  (interactive)
  (pop-to-buffer (get-buffer-create mailsync-status--buffer))
  (unless (derived-mode-p 'mailsync-status-mode)
    (mailsync-status-mode))
  (mailsync-status--fill)
  (unless (get-text-property (point) 'mailsync-account)
    (when-let ((first (next-single-property-change (point-min)
                                                   'mailsync-account)))
      ;; An empty line comes first.
      (goto-char (1+ first)))))

(defun mailsync-status--fill ()
  "Write the current status into the current buffer, if it is another one.
Point, mark and what windows show stay at their lines of their accounts."
  (let ((text (mailsync-status--text))
        (inhibit-read-only t)
        deactivate-mark)
    (setq mailsync-status--time (float-time))
    (unless (equal text (buffer-substring-no-properties (point-min) (point-max)))
      (let ((here (mailsync-status--place (point)))
            (mark (and (mark t) (mailsync-status--place (mark t))))
            (windows (mapcar (lambda (window)
                               (list window
                                     (mailsync-status--place
                                      (window-point window))
                                     (mailsync-status--place
                                      (window-start window))))
                             (get-buffer-window-list nil nil t))))
        (erase-buffer)
        (insert text)
        (goto-char (mailsync-status--position here))
        (when mark
          (set-marker (mark-marker) (mailsync-status--position mark)))
        (pcase-dolist (`(,window ,point ,start) windows)
          (set-window-point window (mailsync-status--position point))
          (set-window-start window (mailsync-status--position start) t))))))

(defun mailsync-status--place (position)
  "Where POSITION is: (ACCOUNT LINE COLUMN END), its line counted in ACCOUNT.
Outside of accounts it is counted from the first line, after all of them from
the END."
  (save-excursion
    (goto-char position)
    (let* ((account (get-text-property (point) 'mailsync-account))
           (column (current-column))
           (line (line-beginning-position))
           (end (and (not account)
                     (previous-single-property-change (point) 'mailsync-account)
                     (not (next-single-property-change (point)
                                                       'mailsync-account)))))
      (list account
            (if end
                (- (count-lines line (point-max)))
              (count-lines (or (mailsync-status--start account) (point-min))
                           line))
            column
            end))))

(defun mailsync-status--position (place)
  "The position now of PLACE, or the nearest one that there is."
  (pcase-let ((`(,account ,line ,column ,end) place))
    (let ((start (mailsync-status--start account)))
      (save-excursion
        (save-restriction
          (when start
            (narrow-to-region start
                              (1- (next-single-char-property-change
                                   start 'mailsync-account))))
          (goto-char (if end (point-max) (point-min)))
          (forward-line line)
          (move-to-column column)
          (point))))))

(defun mailsync-status--start (account)
  "Where the lines of ACCOUNT begin, or nil if there are none."
  (when account
    (let ((position (point-min)))
      (while (and position
                  (not (equal (get-text-property position 'mailsync-account)
                              account)))
        (setq position (next-single-property-change position
                                                    'mailsync-account)))
      position)))

(defun mailsync-status--refresh-soon ()
  "Bring the buffer up to date in a moment, if a window shows it."
  (when (and (not mailsync-status--timer)
             (get-buffer-window mailsync-status--buffer 'visible))
    (setq mailsync-status--timer
          (run-at-time (max 0.1 (min mailsync-status--period
                                     (- (+ mailsync-status--time
                                           mailsync-status--period)
                                        (float-time))))
                       nil #'mailsync-status--refresh))))

(defun mailsync-status--refresh ()
  "Bring the buffer up to date, if a window shows it still."
  (setq mailsync-status--timer nil)
  (when (get-buffer-window mailsync-status--buffer 'visible)
    (with-current-buffer mailsync-status--buffer
      (if (bound-and-true-p isearch-mode)
          ;; It would lose its way.
          (progn
            (setq mailsync-status--time (float-time))
            (mailsync-status--refresh-soon))
        (condition-case err
            (mailsync-status--fill)
          (error
           (mailsync--once '(status) 'error
                           "`mailsync-status' cannot be brought up to date: %s"
                           (error-message-string err))))))))

(defun mailsync-status--text ()
  "The current status, as the buffer shows it."
  (with-temp-buffer
    (if (not (bound-and-true-p mailsync-mode))
        (insert "mailsync is off; M-x mailsync-start starts it\n")
      (let ((status (mailsync-module--status)))
        (insert (format "mailsync %s, " mailsync-module--version-wanted)
                (car (mailsync-mode-line--summary)) "\n")
        (dolist (fault mailsync-accounts--faults)
          (insert "\n" (propertize fault 'face 'mailsync-trouble) "\n"))
        (mapc #'mailsync-status--account (plist-get status :accounts))
        (mailsync-status--gnus)
        (insert (format "\nEngine: %s threads, %s changes found so far%s\n"
                        (plist-get status :threads)
                        (plist-get status :delivered)
                        (if (plist-get status :in-flight)
                            ", Emacs has not read the last ones yet" "")))
        (when-let ((dead (plist-get status :dead)))
          (insert "  ended: " (mailsync-pipe-decode-text dead) "\n"))))
    (insert "\ng brings this up to date, l shows what happened, q leaves.")
    (insert (if (bound-and-true-p mailsync-mode)
                "  At an account:\ns syncs it now, p pauses or resumes it, o shows \
what its syncer printed\n"
              "\n"))
    (buffer-string)))

(defun mailsync-status--account (account)
  "Write about ACCOUNT, a plist from the module."
  (let* ((name (mailsync-pipe-decode-text (plist-get account :name)))
         (told (alist-get name mailsync--states nil nil #'equal))
         (state (or (and (null (plist-get account :roots))
                         (mailsync-remote-account-state name))
                    (car told)
                    (plist-get account :state)))
         (start (point)))
    (insert "\n" (propertize name 'face 'bold) ": "
            (mailsync-status--state state)
            (if (zerop (plist-get account :pending))
                "\n"
              (format ", %s on the way to Emacs\n"
                      (mailsync-sync-say-count (plist-get account :pending)
                                              "changed folder"
                                              "changed folders"))))
    (when-let ((trouble (alist-get name mailsync--troubles nil nil #'equal))
               ;; If it lasts, its root says it.
               ((not (seq-some (lambda (root)
                                 (equal (mailsync-pipe-decode-text
                                         (plist-get root :text))
                                        (cdr trouble)))
                               (plist-get account :roots)))))
      (insert (format "  last trouble, %s: %s\n"
                      (mailsync-log-time (car trouble)) (cdr trouble))))
    (mailsync-status--sync name (plist-get account :sync))
    (mapc #'mailsync-remote-insert (plist-get account :remotes))
    (mapc #'mailsync-status--root (plist-get account :roots))
    (put-text-property start (point) 'mailsync-account name)))

(defun mailsync-status--sync (account status)
  "Write about the syncs of ACCOUNT, whose STATUS is a plist from the module."
  (when-let ((sync (mailsync-sync-state account)))
    (let* ((text (mailsync-sync-say-text sync))
           (phase (plist-get sync :phase))
           (ok (plist-get status :last-ok))
           (next (and (not (eq phase 'running)) (plist-get status :next)))
           (next (and next (mailsync-log-time (time-add nil next))))
           (result (gethash account mailsync-sync--results)))
      (insert "  syncs: "
              (propertize (mailsync-sync-say-phase sync)
                          'face (and (memq phase '(failing paused))
                                     'mailsync-trouble))
              (if (and next (eq phase 'failing)) (concat " " next) "")
              (if ok
                  (concat ", last success "
                          (mailsync-log-time (time-subtract nil ok)))
                "")
              (if (and next (not (eq phase 'failing)))
                  (concat ", next sync " next)
                "")
              (mailsync-status--unpushed phase (plist-get status :unpushed))
              "\n")
      (unless (equal text "")
        (insert "    " text "\n"))
      ;; The last success is above.
      (unless (memq (plist-get result :status) '(nil ok))
        (insert (format "    last run %s: %s, %.1f s\n"
                        (mailsync-log-time (plist-get result :started))
                        (plist-get result :status)
                        (plist-get result :duration)))))))

(defun mailsync-status--unpushed (phase folders)
  "How many FOLDERS have something to push, in PHASE, for the end of a line.
FOLDERS is nil where nobody knows."
  (cond
   ;; Those that are to be synced were counted already.
   ((or (null folders) (eq phase 'pending)) "")
   ((zerop folders) ", all pushed")
   (t (concat ", " (mailsync-sync-say-count folders "folder" "folders")
              " to push"))))

(defun mailsync-status--state (state)
  "STATE as it is shown."
  (propertize (symbol-name state)
              'face (and (memq state '(error waiting offline paused)) 'mailsync-trouble)))

(defun mailsync-status--root (root)
  "Write about ROOT, a plist from the module."
  (insert (format "  %s: " (abbreviate-file-name
                            (mailsync-pipe-decode (plist-get root :directory))))
          (mailsync-status--state (plist-get root :state))
          (format ", %s, %s\n"
                  (mailsync-sync-say-count (plist-get root :folders)
                                          "folder" "folders")
                  (mailsync-status--how root)))
  (let ((text (mailsync-pipe-decode-text (plist-get root :text))))
    (unless (equal text "")
      (insert "    " text "\n")))
  (dolist (problem (plist-get root :problems))
    (insert "    cannot be read: " (mailsync-pipe-decode problem) "\n")))

(defun mailsync-status--how (root)
  "How one comes to know of changes in ROOT, a plist from the module, in words."
  (let ((watches (plist-get root :watches)))
    (pcase (plist-get root :how)
      ('kernel (format "%d directories watched by the kernel" watches))
      ('both (format "%d directories watched by the kernel, and all looked at \
from time to time, since others can write there" watches))
      ('mixed (format "%d directories watched by the kernel, %d looked at from \
time to time" watches (plist-get root :unwatched)))
      ('guarded "the kernel tells when it comes")
      ('sought "looked for from time to time")
      (_ "looked at from time to time"))))

(defun mailsync-status--gnus ()
  "Write about Gnus."
  (insert "\n" (propertize "Gnus" 'face 'bold) ": ")
  (if (not (featurep 'mailsync-gnus))
      (insert "not loaded\n")
    (let ((status (mailsync-gnus-status)))
      (insert (if (plist-get status :ready) "running" "not running")
              (format ", %s for a check\n"
                      (mailsync-sync-say-count (plist-get status :pending)
                                              "folder waits" "folders wait")))
      (when-let ((asked (plist-get status :asked)))
        (insert (format "  waits for the answer of %s\n"
                        (string-join asked ", "))))
      (when-let ((silent (plist-get status :silent)))
        (insert (format "  no answer from %s, asked again later\n"
                        (string-join silent ", "))))
      (when-let ((last (plist-get status :last-error)))
        (insert (format "  last error: %s: %s\n" (car last) (cdr last))))
      (pcase-dolist (`(,what . ,why) (plist-get status :left-alone))
        (insert (format "  left alone: %s (%s)\n" what why))))))

(provide 'mailsync-status)
;;; mailsync-status.el ends here
