;;; mailsync-status.el --- How mailsync is doing, in full  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffer that `mailsync-status' shows.  It follows, from a timer, while a
;; window shows it.  What the mode line has of all this is
;; mailsync-mode-line.el's business.

;;; Code:

(require 'mailsync-accounts)
(require 'mailsync-folders)
(require 'mailsync-history)
(require 'mailsync-log)
(require 'mailsync-mode-line)
(require 'mailsync-module)
(require 'mailsync-options)
(require 'mailsync-pipe)
(require 'mailsync-remote)
(require 'mailsync-status-acts)
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

(defvar mailsync-status--folded nil
  "Names of the accounts of which the buffer shows one line only.")

;;;; Declarations

(defvar mailsync-sync--results)
(defvar mailsync--states)
(defvar mailsync--troubles)
(defvar mailsync--unchecked)
(declare-function mailsync-gnus-status "mailsync-gnus")
(declare-function mailsync-sync-state "mailsync-sync")
(declare-function mailsync-module--status "ext:mailsync-engine")

;;;; The buffer

(defun mailsync-status-update ()
  "Bring the mode line up to date, and soon the buffer, if it is shown."
  (mailsync-status--refresh-soon)
  (mailsync-folders-refresh-soon)
  (mailsync-mode-line-update))

(defvar mailsync-status-mode-map
  (let ((map (make-sparse-keymap)))
    ;; Those of `special-mode' come after ours.
    (set-keymap-parent map (make-composed-keymap mailsync-status-acts-map
                                                 special-mode-map))
    (define-key map (kbd "RET") #'mailsync-status-open)
    (define-key map [mouse-2] #'mailsync-status-open-clicked)
    (define-key map [follow-link] 'mouse-face)
    (define-key map (kbd "TAB") #'mailsync-status-next)
    (define-key map "n" #'mailsync-status-next)
    (define-key map "?" #'describe-mode)
    (define-key map (kbd "<backtab>") #'mailsync-status-previous)
    (define-key map (kbd "M-n") #'mailsync-status-next-account)
    (define-key map (kbd "M-p") #'mailsync-status-previous-account)
    map)
  "Keymap of the buffer that shows how mailsync is doing.")

(define-derived-mode mailsync-status-mode special-mode "Mailsync"
  "Major mode of the buffer that shows how mailsync is doing.
\\<mailsync-status-mode-map>\\[mailsync-status-next] and \\[mailsync-status-previous] \
go from one account, folder or list to the next,
\\[mailsync-status-open] folds or unfolds an account, goes to the group of a folder, or
opens a list.

\\{mailsync-status-mode-map}"
  (buffer-disable-undo)
  (setq-local imenu-create-index-function #'mailsync-status--imenu)
  (setq bidi-paragraph-direction 'left-to-right)
  ;; Long lines go on below their texts.
  (setq-local word-wrap t)
  (setq-local wrap-prefix "      ")
  ;; While no window showed it, it stayed as it was.
  (add-hook 'window-buffer-change-functions
            (lambda (_) (mailsync-status--refresh-soon)) nil t)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-status--fill))))

;;;###autoload
(defun mailsync-status ()
  "Show what is watched, how, what is pending, and what went wrong.
While it is shown it is kept up to date."
  (interactive)
  (pop-to-buffer (get-buffer-create mailsync-status--buffer))
  (unless (derived-mode-p 'mailsync-status-mode)
    (mailsync-status-mode))
  (mailsync-status--fill)
  (mailsync-status--look)
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
  "Where POSITION is: (ACCOUNT LINE COLUMN END FOLDER).
Its line is counted in ACCOUNT.  Outside of accounts it is counted from the
first line, after all of them from the END.  FOLDER is the truename of the
folder there, or nil."
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
            end
            (plist-get (mailsync-status-folder-here) :truename)))))

(defun mailsync-status--position (place)
  "The position now of PLACE, or the nearest one that there is."
  (pcase-let* ((`(,account ,line ,column ,end ,folder) place)
               (start (mailsync-status--start account))
               (there (and folder
                           (mailsync-status--line-of account folder))))
    (save-excursion
      (if there
          (progn
            (goto-char there)
            (move-to-column column)
            (point))
        (save-restriction
          (when start
            (narrow-to-region start
                              (1- (next-single-char-property-change
                                   start 'mailsync-account))))
          (goto-char (if end (point-max) (point-min)))
          (forward-line line)
          (move-to-column column)
          (point))))))

(defun mailsync-status--line-of (account truename)
  "Where the line of the folder of ACCOUNT with TRUENAME begins, or nil."
  (seq-find (lambda (position)
              (let ((folder (get-text-property position 'mailsync-folder)))
                (and (equal (plist-get folder :account) account)
                     (equal (plist-get folder :truename) truename))))
            (mailsync-status--places 'mailsync-folder #'identity)))

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
  (when (and (not (mailsync--armed-p mailsync-status--timer))
             (get-buffer-window mailsync-status--buffer 'visible))
    (setq mailsync-status--timer
          (run-at-time (max 0.1 (min mailsync-status--period
                                     (- (+ mailsync-status--time
                                           mailsync-status--period)
                                        (float-time))))
                       nil #'mailsync--undisturbed #'mailsync-status--refresh))))

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
            (progn
              (mailsync-status--fill)
              (mailsync-status--look))
          (error
           (mailsync--once '(status) 'error
                           "`mailsync-status' cannot be brought up to date: %s"
                           (error-message-string err))))))))

(defun mailsync-status--look ()
  "Ask which folders wait, which the buffer then shows."
  (when (and (bound-and-true-p mailsync-mode)
             ;; Where nothing is synced, nothing waits for that.
             (bound-and-true-p mailsync-sync--states))
    (mailsync-folders-look)))

(defun mailsync-status-refill ()
  "Write the buffer anew, if a window shows it: other folders wait."
  (when (get-buffer-window mailsync-status--buffer 'visible)
    (with-current-buffer mailsync-status--buffer
      (unless (bound-and-true-p isearch-mode)
        (mailsync-status--fill)))))

(defun mailsync-status--text ()
  "The current status, as the buffer shows it."
  (with-temp-buffer
    (if (not (bound-and-true-p mailsync-mode))
        (insert "mailsync is off; M-x mailsync-start starts it\n")
      (let ((status (mailsync-module--status)))
        (insert (format "mailsync %s, " mailsync-module--version-wanted)
                (car (mailsync-mode-line--summary)) "\n")
        (dolist (fault (reverse mailsync-accounts--faults))
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
    (insert (if (bound-and-true-p mailsync-mode)
                "\ns syncs, c checks, p pauses, f lists folders, h changes, l log, \
g anew, ? more\n"
              "\nl shows what happened, g brings this up to date, q leaves\n"))
    (mailsync-log-clean-buffer)
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
    (insert "\n" (mailsync-status--item (propertize name 'face 'bold) 'account
                                       "fold or unfold it")
            ": "
            (mailsync-status--state state)
            (if (zerop (plist-get account :pending))
                "\n"
              (format ", %s on the way to Emacs\n"
                      (mailsync-sync-say-count (plist-get account :pending)
                                              "changed folder"
                                              "changed folders"))))
    (if (member name mailsync-status--folded)
        (mailsync-status--fold)
      (mailsync-status--details name account))
    (put-text-property start (point) 'mailsync-account name)))

(defun mailsync-status--fold ()
  "Say at the end of the line before point that more is folded there."
  (forward-char -1)
  (insert " ...")
  (forward-char 1))

(defun mailsync-status--details (name account)
  "Write what there is to say of NAME, whose ACCOUNT is a plist from the module."
  (let ((roots (plist-get account :roots)))
    (when-let ((trouble (alist-get name mailsync--troubles nil nil #'equal))
               ;; If it lasts, its root says it.
               ((not (seq-some (lambda (root)
                                 (equal (mailsync-pipe-decode-text
                                         (plist-get root :text))
                                        (cdr trouble)))
                               roots))))
      (insert (format "  last trouble, %s: %s\n"
                      (mailsync-log-time (car trouble)) (cdr trouble))))
    (mailsync-status--sync name (plist-get account :sync))
    (mapc #'mailsync-remote-insert (plist-get account :remotes))
    (mapc #'mailsync-status--root roots)
    (mailsync-status--folders name roots)))

;;;; Folders

(defun mailsync-status--folders (name roots)
  "Write about the folders of the account NAME, which has ROOTS."
  (let* ((rows (mailsync-folders-waiting name))
         (stories (mailsync-status--last-stories name))
         (unchecked (mailsync-status--unchecked name))
         (of (lambda (letter)
               (seq-count (lambda (row)
                            (memq letter (mailsync-folders-row-letters row)))
                          rows)))
         (aside (seq-count #'mailsync-folders-row-aside rows)))
    ;; One line where there is nothing to say would be one too many.
    (when (or rows stories (> unchecked 0))
      (insert "  "
              (mailsync-status--item "folders" 'folders "list all of them")
              ": "
              (string-join
               (delq nil
                     (list
                      (and roots
                           (format "%d in all"
                                   (apply #'+ (mapcar (lambda (root)
                                                        (plist-get root :folders))
                                                      roots))))
                      (mailsync-status--so-many unchecked "waits for its check"
                                                "wait for their checks")
                      (mailsync-status--so-many (funcall of ?w) "is to be synced"
                                                "are to be synced")
                      (mailsync-status--so-many (funcall of ?u) "is to be pushed"
                                                "are to be pushed")
                      (and (> aside 0)
                           (propertize (format "%d failed" aside)
                                       'face 'mailsync-trouble))))
               ", ")
              "\n")
      (mapc #'mailsync-status--folder
            (mailsync-status--which rows stories)))))

(defun mailsync-status--so-many (number one many)
  "NUMBER and what there is so many of, ONE or MANY; nil if there are none."
  (and (> number 0) (mailsync-sync-say-count number one many)))

(defun mailsync-status--unchecked (name)
  "How many folders of the account NAME wait for their check."
  (let ((count 0))
    (maphash (lambda (key _)
               (when (equal (car key) name)
                 (setq count (1+ count))))
             mailsync--unchecked)
    count))

(defun mailsync-status--last-stories (name)
  "The last stories of folders of the account NAME, one for each folder."
  (let ((seen (make-hash-table :test #'equal)))
    (seq-filter (lambda (story)
                  (let ((folder (mailsync-history-story-truename story)))
                    (and folder
                         (equal (mailsync-history-story-account story) name)
                         (not (gethash folder seen))
                         (puthash folder t seen))))
                (mailsync-history-stories))))

(defun mailsync-status--which (rows stories)
  "Which folders are shown of those with ROWS, which wait, and with STORIES.
A list of (ROW STORY), either of which may be nil."
  (let* ((most (mailsync--natural 'mailsync-status-folders))
         (story-of (lambda (row)
                     (seq-find (lambda (story)
                                 (equal (mailsync-history-story-truename story)
                                        (mailsync-folders-row-truename row)))
                               stories)))
         (failed (seq-filter #'mailsync-folders-row-aside rows))
         (shown (seq-take (append failed (seq-remove #'mailsync-folders-row-aside
                                                     rows))
                          most))
         (pairs (mapcar (lambda (row) (list row (funcall story-of row))) shown))
         (told (delq nil (mapcar #'cadr pairs))))
    (append pairs
            (mapcar (lambda (story) (list nil story))
                    (seq-take (seq-remove (lambda (story) (memq story told))
                                          stories)
                              (- most (length pairs)))))))

(defun mailsync-status--folder (pair)
  "Write a line about the folder of PAIR, (ROW STORY)."
  (pcase-let* ((`(,row ,story) pair)
               (start (point))
               (account (if row (mailsync-folders-row-account row)
                          (mailsync-history-story-account story)))
               (name (if row (mailsync-folders-row-name row)
                       (mailsync-history-story-folder story)))
               (truename (if row (mailsync-folders-row-truename row)
                           (mailsync-history-story-truename story)))
               (directory (if row (mailsync-folders-row-directory row)
                            (mailsync-history-story-directory story))))
    (insert "    " (mailsync-status--item
                    (mailsync-log-shorten (mailsync-log-clean name t) 40)
                    'folder "go to its group" name)
            ": "
            (string-join
             (delq nil
                   (list (and story
                              (mailsync-status--story
                               story (and row (mailsync-folders-row-aside row))))
                         (mailsync-status--waits account truename row)
                         (and row (mailsync-folders-row-aside row)
                              (propertize
                               (concat "failed: " (mailsync-folders-row-aside row))
                               'face 'mailsync-trouble))))
             ", ")
            "\n")
    (put-text-property start (point) 'mailsync-folder
                       (list :account account :folder name
                             :directory directory :truename truename))))

(defun mailsync-status--waits (account truename row)
  "What the folder of ACCOUNT with TRUENAME waits for, in words, or nil.
ROW is what the engine said of it, or nil."
  (let ((letters (and row (mailsync-folders-row-letters row)))
        (check (gethash (cons account truename) mailsync--unchecked)))
    (cond
     ((memq ?r letters) "is being synced")
     ((memq ?w letters) (if check "waits for its check and a sync"
                          "is to be synced"))
     (check "waits for its check")
     ((memq ?u letters) "is to be pushed"))))

(defun mailsync-status--story (story aside)
  "STORY in a few words.
With ASIDE, its folder has failed alone, and how is said elsewhere."
  (let ((status (mailsync-history-story-status story))
        (result (mailsync-history-last-result story)))
    (concat
     (mailsync-history-kinds (mailsync-history-story-kinds story))
     " (" (mailsync-history-origins (mailsync-history-story-origins story)) ") "
     (mailsync-log-time (mailsync-history-story-seen story))
     (cond
      ((null (mailsync-history-story-checked story)) "")
      ((eq result 'failed)
       (concat ", " (propertize "check failed" 'face 'mailsync-trouble)))
      ((memq result '(nil checked)) ", checked")
      (t (concat ", " (mailsync-history-result result))))
     (cond
      (aside "")
      ((mailsync-history-story-synced story) ", synced")
      (status (concat ", " (propertize (format "sync failed (%s)" status)
                                       'face 'mailsync-trouble)))
      (t "")))))

;;;; Items

(defun mailsync-status--item (text kind what &optional whole)
  "TEXT as something of KIND that a key opens, which does WHAT.
WHOLE is shown by the mouse, too, if it is given and TEXT is not all of it."
  (propertize text 'mailsync-item kind 'mouse-face 'highlight
              'help-echo (mailsync-log-help
                          (concat (if (equal whole text) ""
                                    (if whole (concat whole "\n") ""))
                                  "RET, mouse-2: " what))))

(defun mailsync-status-next (&optional count)
  "Go to the next account, folder or list; to the one after COUNT.
After the last one comes the first."
  (interactive "p")
  (mailsync-status--move 'mailsync-item #'identity (or count 1)))

(defun mailsync-status-previous (&optional count)
  "Go to the account, folder or list before; before COUNT of them."
  (interactive "p")
  (mailsync-status--move 'mailsync-item #'identity (- (or count 1))))

(defun mailsync-status-next-account (&optional count)
  "Go to the next account; to the one after COUNT of them."
  (interactive "p")
  (mailsync-status--move 'mailsync-item
                         (lambda (kind) (eq kind 'account)) (or count 1)))

(defun mailsync-status-previous-account (&optional count)
  "Go to the account before; before COUNT of them."
  (interactive "p")
  (mailsync-status-next-account (- (or count 1))))

(defun mailsync-status--move (property wanted count)
  "Go COUNT places on to where PROPERTY begins with a value that is WANTED."
  (let* ((all (mailsync-status--places property wanted))
         (after (seq-filter (lambda (it) (> it (point))) all))
         (before (seq-filter (lambda (it) (< it (point))) all))
         (row (if (> count 0) (append after before)
                (append (reverse before) (reverse after)))))
    (when row
      (goto-char (nth (mod (1- (abs count)) (length row)) row)))))

(defun mailsync-status--places (property wanted)
  "Where PROPERTY begins with a value that is WANTED, in this buffer."
  (let ((position (point-min)) places)
    (while position
      (let ((value (get-text-property position property)))
        (when (and value (funcall wanted value))
          (push position places)))
      (setq position (next-single-property-change position property)))
    (nreverse places)))

(defun mailsync-status-open-clicked (event)
  "Open what EVENT, a click, is at."
  (interactive "e")
  (mouse-set-point event)
  (mailsync-status-open))

(defun mailsync-status-open (&optional read)
  "Fold or unfold the account at point, or open what else is there.
That is the list of folders, or the group of a folder, in *Group*; with READ,
a prefix argument, the group itself."
  (interactive "P")
  (let* ((item (seq-find #'identity
                         (list (get-text-property (point) 'mailsync-item)
                               (mailsync-status--item-of-line))))
         (account (get-text-property (point) 'mailsync-account)))
    (pcase item
      ('folders (mailsync-folders account))
      ('folder (mailsync-status-visit read))
      ((guard account)
       (setq mailsync-status--folded
             (if (member account mailsync-status--folded)
                 (delete account mailsync-status--folded)
               (cons account mailsync-status--folded)))
       (goto-char (mailsync-status--start account))
       (forward-line)
       (mailsync-status--fill))
      (_ (user-error "There is nothing to open at point")))))

(defun mailsync-status--item-of-line ()
  "The kind of what is on the line of point that a key opens, or nil."
  (let ((end (line-end-position))
        (position (line-beginning-position)))
    (or (get-text-property position 'mailsync-item)
        (and (setq position (next-single-property-change
                             position 'mailsync-item nil end))
             (get-text-property position 'mailsync-item)))))

(defun mailsync-status--imenu ()
  "An index of the accounts of this buffer, and of the folders that it shows."
  (let (accounts folders)
    (dolist (place (mailsync-status--places 'mailsync-item #'identity))
      (pcase (get-text-property place 'mailsync-item)
        ('account
         (push (cons (get-text-property place 'mailsync-account) place)
               accounts))
        ('folder
         (let ((folder (get-text-property place 'mailsync-folder)))
           (push (cons (mailsync-log-clean
                        (format "%s: %s" (plist-get folder :account)
                                (plist-get folder :folder))
                        t)
                       place)
                 folders)))))
    (append (nreverse accounts)
            (and folders (list (cons "Folders" (nreverse folders)))))))

;;;; Accounts

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
          (if-let ((since (plist-get root :since)))
              (concat " since " (string-remove-prefix
                                 "at " (mailsync-log-time
                                        (time-subtract nil since))))
            "")
          (format ", %s, %s\n"
                  (mailsync-sync-say-count (plist-get root :folders)
                                          "folder" "folders")
                  (mailsync-status--how root)))
  (let ((text (mailsync-pipe-decode-text (plist-get root :text))))
    (unless (equal text "")
      (insert "    " text "\n")))
  (dolist (problem (plist-get root :problems))
    (insert "    cannot be read: "
            (mailsync-log-clean (mailsync-pipe-decode problem) t) "\n")))

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
              (format ", %s for a check"
                      (mailsync-sync-say-count (plist-get status :pending)
                                              "folder waits" "folders wait"))
              (let ((until (plist-get status :held-up)))
                (if until (format ", until %s" until) ""))
              "\n")
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
