;;; mailsync-folders.el --- Lists of all folders and of the last changes  -*- lexical-binding: t -*-

;; Copyright (C) 2026 The mailsync authors

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; The buffers that `mailsync-folders' and `mailsync-history' show.  Which
;; folders there are, and which wait to be synced, the engine tells when it is
;; asked: all of them when the list is opened, those with which something is
;; the matter when something has happened.  The rest mailsync-history.el knows.
;;
;; There may be thousands of folders: many rows are written in pieces, apart
;; from the buffer, and put into it when they are all there; what is news of a few
;; changes only their rows.

;;; Code:

(eval-when-compile (require 'cl-lib))
(require 'seq)
(require 'subr-x)
(require 'tabulated-list)
(require 'mailsync-history)
(require 'mailsync-log)
(require 'mailsync-pipe)
(require 'mailsync-status-acts)

;;;; Internal variables

(cl-defstruct (mailsync-folders-row
               (:copier nil) (:constructor mailsync-folders--make-row)
               ;; Without keys, which would be garbage.
               (:constructor mailsync-folders--read-row
                             (account name directory truename letters synced
                                      aside)))
  "A folder as the engine knows it.
LETTERS are characters: w (it waits to be synced), r (it is being synced), u
\(it has something to push).  SYNCED is when it was synced last, a float, ASIDE
why it could not be, a string; either may be nil."
  account name directory truename letters synced aside
  ;; What `mailsync-folders--key' returns.
  key
  ;; As `tabulated-list-entries' has it.
  entry)

(cl-defstruct (mailsync-folders-work
               (:copier nil)
               (:constructor mailsync-folders--make-work (rows order)))
  "A list that is being written.
ROWS are those whose columns are not looked at yet, ENTRIES the others, the
last one first; LINES are those to be written into the buffer TEXT, once all
are sorted.  ORDER is `tabulated-list-sort-key' as it was at the beginning, or t
if the rows are in their order."
  rows order entries lines text
  (key tabulated-list-sort-key)
  (times (make-hash-table :test #'eql)))

(defconst mailsync-folders--buffer "*mailsync-folders*"
  "Name of the buffer that `mailsync-folders' shows.")

(defconst mailsync-folders--history "*mailsync-history*"
  "Name of the buffer that `mailsync-history' shows.")

(defconst mailsync-folders--period 1
  "The buffers are brought up to date once in so many seconds at most.")

(defconst mailsync-folders--slice 0.008
  "Rows are written for so many seconds at once at most.")

(defconst mailsync-folders--pause 0.003
  "After so many seconds the next ones are; meanwhile keys are seen to.")

(defconst mailsync-folders--few 100
  "Of so many rows or fewer each is written in its place.")

(defvar mailsync-folders--timer nil
  "The timer that brings the buffers up to date, or nil.")

(defvar mailsync-folders--news (make-hash-table :test #'equal)
  "Hash table with keys of folders of which there is news.")

(defvar mailsync-folders--stale nil
  "Non-nil if there was news while no window showed the list of folders.")

(defvar mailsync-folders-waiting-hook
  '(mailsync-folders--refresh-folders mailsync-status-refill)
  "Functions called when something else is the matter with folders.")

(defvar mailsync-folders--waiting nil
  "Rows of the folders with which something was the matter at the last look.")

(defvar-local mailsync-folders--account nil
  "The account whose folders the buffer lists; nil: all.")

(defvar-local mailsync-folders--work nil
  "What is being written to become this buffer's text, or nil.")

(defvar-local mailsync-folders--work-timer nil
  "The timer that goes on with it, or nil.")

(defvar-local mailsync-folders--rows nil
  "Hash table from keys (ACCOUNT . TRUENAME) to rows, or nil if none came yet.")

;;;; Declarations

(defvar mailsync--unchecked)
(defvar mailsync-mode)
(declare-function mailsync--account-names "mailsync-accounts")
(declare-function mailsync--errand "mailsync-dispatch"
                  (slot function callback &rest args))
(declare-function mailsync-gnus-folder-groups "mailsync-gnus-folders" (folder))
(declare-function mailsync-gnus-ready-p "mailsync-gnus-moment")
(declare-function mailsync-status-refill "mailsync-status" ())
(declare-function mailsync-module--folders "ext:mailsync-engine")

;;;; What the engine knows

(defun mailsync-folders-ask (slot account all callback)
  "Have the engine name the folders of ACCOUNT, or of all accounts if it is nil.
Unless ALL is non-nil, those are left out with which all is well.  CALLBACK is
called later with a list of rows.  SLOT is as for `mailsync--errand'."
  (mailsync--errand slot #'mailsync-module--folders
                    (lambda (fields)
                      (funcall callback (mailsync-folders--parse fields)))
                    (and account (mailsync-pipe-encode-text account))
                    (and all t)))

(defun mailsync-folders--text (bytes)
  "BYTES of an answer as a text; those of most folders are one already."
  (if (string-match-p "\\`[[:ascii:]]*\\'" bytes) bytes
    (mailsync-pipe-decode-text bytes)))

(defun mailsync-folders--file (bytes)
  "BYTES of an answer as Emacs names a file."
  (if (string-match-p "\\`[[:ascii:]]*\\'" bytes) bytes
    (mailsync-pipe-decode bytes)))

(defun mailsync-folders--parse (fields)
  "The rows that FIELDS, of an answer, describe."
  (let ((now (float-time))
        ;; It is the same for a row and the next.
        encoded account rows)
    (while fields
      (let ((name (pop fields))
            (folder (mailsync-folders--text (pop fields)))
            (directory (mailsync-folders--file (pop fields)))
            (truename (pop fields))
            (letters (pop fields))
            (ago (pop fields))
            (aside (pop fields)))
        (unless (equal name encoded)
          (setq encoded name
                account (mailsync-pipe-decode-text name)))
        (push (mailsync-folders--read-row
               account folder directory
               (if (equal truename "") directory
                 (mailsync-folders--file truename))
               (append letters nil)
               (and (not (equal ago ""))
                    (- now (/ (string-to-number ago) 1000.0)))
               (and (not (equal aside ""))
                    (mailsync-pipe-decode-text aside)))
              rows)))
    (nreverse rows)))

(defun mailsync-folders--key (row)
  "The key of ROW."
  (or (mailsync-folders-row-key row)
      (setf (mailsync-folders-row-key row)
            (cons (mailsync-folders-row-account row)
                  (mailsync-folders-row-truename row)))))

(defun mailsync-folders-look ()
  "Ask the engine which folders something is the matter with.
If that is news, `mailsync-folders-waiting-hook' is run later."
  (mailsync-folders-ask
   "waiting" nil nil
   (lambda (rows)
     (unless (equal (mapcar #'mailsync-folders--matter rows)
                    (mapcar #'mailsync-folders--matter
                            mailsync-folders--waiting))
       (dolist (row (append rows mailsync-folders--waiting))
         (puthash (mailsync-folders--key row) t mailsync-folders--news))
       (setq mailsync-folders--waiting rows)
       (run-hooks 'mailsync-folders-waiting-hook)))))

(defun mailsync-folders--matters-p (row)
  "Non-nil if ROW waits, or something is not well with it."
  (or (mailsync-folders-row-letters row) (mailsync-folders-row-aside row)))

(defun mailsync-folders--matter (row)
  "What is the matter with ROW, to be compared with `equal'."
  (list (mailsync-folders--key row)
        (mailsync-folders-row-letters row)
        (mailsync-folders-row-aside row)))

(defun mailsync-folders-waiting (account)
  "Rows of ACCOUNT's folders with which something was the matter at the last look."
  (seq-filter (lambda (row) (equal (mailsync-folders-row-account row) account))
              mailsync-folders--waiting))

;;;; What a row says

(defun mailsync-folders-waits (row)
  "What ROW waits for, in words; \"\" for nothing."
  (let* ((letters (mailsync-folders-row-letters row))
         (check (and (gethash (mailsync-folders--key row) mailsync--unchecked)
                     "check"))
         (sync (cond ((null letters) nil)
                     ((memq ?r letters) "syncing")
                     ((memq ?w letters) "sync")
                     ((memq ?u letters) "push"))))
    ;; Most wait for nothing, and there are thousands.
    (if (and check sync) (concat check "+" sync) (or check sync ""))))

(defun mailsync-folders--last-sync (row)
  "The last sync of ROW: (TIME . STATUS), or nil.
A folder that failed alone has nil for a time, where none is known."
  (let ((told (mailsync-history-sync (mailsync-folders-row-account row)
                                     (mailsync-folders-row-name row)))
        (time (mailsync-folders-row-synced row)))
    (cond
     ((mailsync-folders-row-aside row) (cons (car told) 'failed))
     ;; The engine's clock and ours differ by how long its answer took.
     ((and time (or (null told) (> time (+ (car told) 1)))) (cons time 'ok))
     (t told))))

(defun mailsync-folders--groups (row)
  "Gnus's groups of ROW, full names."
  (and (featurep 'mailsync-gnus)
       (mailsync-gnus-ready-p)
       (mailsync-gnus-folder-groups (mailsync-folders--place row))))

(defun mailsync-folders--place (row)
  "ROW as a plist, as a change is."
  (list :account (mailsync-folders-row-account row)
        :folder (mailsync-folders-row-name row)
        :directory (mailsync-folders-row-directory row)
        :truename (mailsync-folders-row-truename row)))

(defvar mailsync-folders--times nil
  "Hash table from times to how they are shown, while many are written.")

(defun mailsync-folders--time (time)
  "TIME as a row shows it, \"\" for nil."
  (cond
   ((null time) "")
   ;; Thousands were checked at one time.
   (mailsync-folders--times
    (or (gethash time mailsync-folders--times)
        (puthash time (mailsync-history-clock time) mailsync-folders--times)))
   (t (mailsync-history-clock time))))

(defun mailsync-folders--columns (row)
  "What the columns of ROW say, a vector of strings.
Behind them are the times by which rows are sorted, of its change, its check
and its sync, numbers."
  (let* ((known (gethash (mailsync-folders--key row)
                         mailsync-history--folders))
         (result (and known (mailsync-history-folder-result known)))
         (sync (mailsync-folders--last-sync row))
         (ok (memq (cdr sync) '(nil ok partial)))
         (trouble 'mailsync-trouble))
    (vector
     (mailsync-folders-row-name row)
     (mailsync-folders-row-account row)
     (mailsync-folders-waits row)
     (mailsync-folders--time (and known (mailsync-history-folder-changed known)))
     (if (and known (mailsync-history-folder-changed known))
         (concat (mailsync-history-kinds (mailsync-history-folder-kinds known))
                 " " (mailsync-history-origins
                      (mailsync-history-folder-origins known)))
       "")
     (cond
      ((memq result '(nil checked))
       (mailsync-folders--time
        (and known (mailsync-history-folder-checked known))))
      ((eq result 'failed)
       (propertize (mailsync-history-result result) 'face trouble))
      (t (mailsync-history-result result)))
     (if ok
         (mailsync-folders--time (car sync))
       (propertize (symbol-name (cdr sync)) 'face trouble))
     (if-let ((groups (mailsync-folders--groups row)))
         (mapconcat #'identity groups " ")
       "")
     (or (and known (mailsync-history-folder-changed known)) 0)
     (or (and known (mailsync-history-folder-checked known)) 0)
     (or (car sync) 0))))

(defun mailsync-folders--say (row)
  "All that is known of ROW, in a few lines."
  (let* ((known (gethash (mailsync-folders--key row)
                         mailsync-history--folders))
         (sync (mailsync-folders--last-sync row)))
    (string-join
     (delq nil
           (list (mailsync-folders-row-directory row)
                 (and known (mailsync-history-folder-checked known)
                      (format "%s %s"
                              (mailsync-history-result
                               (mailsync-history-folder-result known))
                              (mailsync-log-time
                               (mailsync-history-folder-checked known))))
                 (and (car sync)
                      (format "%s %s"
                              (if (memq (cdr sync) '(nil ok partial)) "synced"
                                (format "not synced (%s)" (cdr sync)))
                              (mailsync-log-time (car sync))))
                 (mailsync-folders-row-aside row)))
     "\n")))

;;;; The lists

(defvar mailsync-list-mode-map
  (let ((map (make-sparse-keymap)))
    ;; Those of `tabulated-list-mode' come after ours.
    (set-keymap-parent map (make-composed-keymap mailsync-status-acts-map
                                                 tabulated-list-mode-map))
    (define-key map (kbd "RET") #'mailsync-status-visit)
    (define-key map [remap tabulated-list-sort] #'mailsync-list-sort)
    map)
  "Keymap of mailsync's lists.")

(define-derived-mode mailsync-list-mode tabulated-list-mode "Mailsync-List"
  "Parent of the major modes of mailsync's lists.

\\{mailsync-list-mode-map}"
  (buffer-disable-undo)
  (setq tabulated-list-padding 0)
  (setq-local truncate-lines t)
  (setq-local tabulated-list-printer #'mailsync-folders--print)
  (setq-local mailsync-status-folder-function #'mailsync-folders--here)
  (setq-local imenu-create-index-function #'mailsync-folders--imenu)
  ;; While no window showed it, it stayed as it was.
  (add-hook 'window-buffer-change-functions
            (lambda (_) (mailsync-folders-refresh-soon)) nil t))

(defun mailsync-list-sort (&optional number)
  "Sort by the column at point; with NUMBER, a prefix argument, by that one.
They are counted from 0.  What is sorted by it already is reversed."
  (interactive "P")
  ;; It looks for a property that lines which are written at once do not have.
  (tabulated-list-sort
   (or number
       (let ((end 0) (index -1))
         (while (and (< (1+ index) (length tabulated-list-format))
                     (<= end (current-column)))
           (setq index (1+ index)
                 end (+ end 1 (nth 1 (aref tabulated-list-format index)))))
         index))))

(defvar-local mailsync-folders--line nil
  "How a line of this buffer is put together: a format for all columns.")

(defun mailsync-folders--set-format (columns)
  "This buffer has COLUMNS, as `tabulated-list-format' has them."
  (setq tabulated-list-format columns
        mailsync-folders--line
        (concat (mapconcat (lambda (column) (format "%%-%ds " (nth 1 column)))
                           (butlast (append columns nil)) "")
                "%s\n"))
  (tabulated-list-init-header))

(defconst mailsync-folders--odd (concat "[\n\t]\\|" mailsync-log-unseen)
  "What must not be in a column, a regular expression.")

(defun mailsync-folders--fit (text width)
  "TEXT on one line as it may be shown, cut to WIDTH columns."
  (when (string-match-p mailsync-folders--odd text)
    (setq text (replace-regexp-in-string mailsync-folders--odd "?" text t t)))
  ;; Most are short, and this is done for thousands of them.
  (if (or (<= (string-bytes text) width) (<= (string-width text) width))
      text
    (truncate-string-to-width text width nil nil "…")))

(defun mailsync-folders--print (id columns)
  "Write the line of ID, which says COLUMNS."
  (mailsync-folders--write id columns tabulated-list-format
                           mailsync-folders--line))

(defun mailsync-folders--write (id columns format line)
  "Write the line of ID, which says COLUMNS, by FORMAT and LINE of the list."
  (let ((start (point))
        (cell (lambda (column)
                (mailsync-folders--fit (aref columns column)
                                       (nth 1 (aref format column))))))
    ;; A list of them would be garbage; both lists have eight columns.  The
    ;; function pads by columns, not by characters.
    (insert (format line
                    (funcall cell 0) (funcall cell 1) (funcall cell 2)
                    (funcall cell 3) (funcall cell 4) (funcall cell 5)
                    (funcall cell 6)
                    (mailsync-folders--fit (aref columns 7) 1000)))
    ;; What all lines of an account have is said by a symbol, once.
    (add-text-properties
     start (point)
     (list 'tabulated-list-id id
           'category (mailsync-folders--category
                      (mailsync-folders--account-of id))))))

(defvar mailsync-folders--categories (make-hash-table :test #'equal)
  "Hash table from accounts to symbols whose properties their lines have.")

(defun mailsync-folders--category (account)
  "The symbol whose properties the lines of ACCOUNT have."
  (or (gethash account mailsync-folders--categories)
      (let ((symbol (make-symbol "mailsync-folders-line")))
        (put symbol 'mailsync-account account)
        (put symbol 'help-echo #'mailsync-folders--help)
        (puthash account symbol mailsync-folders--categories))))

(defun mailsync-folders--account-of (id)
  "The account of the line of ID."
  (if (consp id) (car id) (mailsync-history-story-account id)))

(defun mailsync-folders--here ()
  "The folder of the line of point, a plist as a change is, or nil."
  (let ((id (get-text-property (point) 'tabulated-list-id)))
    (cond
     ((null id) nil)
     ((consp id)
      ;; One that is gone stays until the list is written anew.
      (when-let ((row (gethash id mailsync-folders--rows)))
        (mailsync-folders--place row)))
     ((mailsync-history-story-folder id)
      (list :account (mailsync-history-story-account id)
            :folder (mailsync-history-story-folder id)
            :directory (mailsync-history-story-directory id)
            :truename (mailsync-history-story-truename id))))))

(defun mailsync-folders--help (_window buffer position)
  "All that is known of the line at POSITION of BUFFER, for the mouse."
  (when (bufferp buffer)
    (with-current-buffer buffer
      (let ((id (get-text-property position 'tabulated-list-id)))
        (mailsync-log-help
         (if (not (consp id))
             (mailsync-history-tell id)
           (when-let ((row (gethash id mailsync-folders--rows)))
             (mailsync-folders--say row))))))))

(defun mailsync-folders--imenu ()
  "An index of the lines of this buffer."
  (let (index)
    (save-excursion
      (goto-char (point-min))
      (while (not (eobp))
        (when-let ((folder (mailsync-status-folder-here)))
          (push (cons (if (or mailsync-folders--account
                              (mailsync-history-story-p
                               (get-text-property (point) 'tabulated-list-id)))
                          (plist-get folder :folder)
                        (concat (plist-get folder :account) " "
                                (plist-get folder :folder)))
                      (point))
                index))
        (forward-line)))
    (nreverse index)))

(defun mailsync-folders--wide (columns)
  "How wide the first of a list's columns may be, of which COLUMNS are fixed."
  (let ((window (or (get-buffer-window (current-buffer) t) (selected-window))))
    (max 12 (min 60 (- (window-body-width window) columns)))))

;;;; All folders

(defvar mailsync-folders-mode-map
  (make-composed-keymap nil mailsync-list-mode-map)
  "Keymap of the list of folders.")

(define-derived-mode mailsync-folders-mode mailsync-list-mode "Mailsync-Folders"
  "Major mode of the list of the folders that mailsync watches.
\\<mailsync-folders-mode-map>\\[mailsync-list-sort] sorts by the column at \
point, \\[revert-buffer] asks the engine anew.

\\{mailsync-folders-mode-map}"
  ;; The engine has an order.
  (setq tabulated-list-sort-key nil)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-folders--ask))))

(defun mailsync-folders--by (place)
  "A predicate for entries of the list, by the times at PLACE of their columns."
  ;; The last one first.
  (lambda (one other)
    (> (aref (cadr one) place) (aref (cadr other) place))))

(defun mailsync-folders--format ()
  "The columns of the list, for the window that shows it."
  (vector (list "Folder" (mailsync-folders--wide 63) t)
          (list "Account" 8 t)
          (list "Waits for" 10
                (lambda (one other)
                  (string> (aref (cadr one) 2) (aref (cadr other) 2))))
          (list "Changed" 8 (mailsync-folders--by 8))
          (list "What" 12 t)
          (list "Checked" 8 (mailsync-folders--by 9))
          (list "Synced" 8 (mailsync-folders--by 10))
          (list "Groups" 6 t)))

;;;###autoload
(defun mailsync-folders (&optional account)
  "List the folders of ACCOUNT, or of all accounts if it is nil.
With each: what it waits for, its last change, what and by whom, when it was
checked and synced last or why not, and Gnus's groups.  Interactively, a
prefix argument asks for the account."
  (interactive
   (list (and current-prefix-arg
              (completing-read "Folders of account: "
                               (mailsync--account-names) nil t))))
  (unless mailsync-mode
    (user-error "Mailsync is off; M-x mailsync-start starts it"))
  (pop-to-buffer (get-buffer-create mailsync-folders--buffer))
  (unless (derived-mode-p 'mailsync-folders-mode)
    (mailsync-folders-mode))
  (unless (equal account mailsync-folders--account)
    (setq mailsync-folders--account account
          mailsync-folders--rows nil)
    (let ((inhibit-read-only t))
      (erase-buffer)))
  (mailsync-folders--ask))

(defun mailsync-folders--ask ()
  "Have this buffer filled with what the engine knows."
  (if (not mailsync-mode)
      (user-error "Mailsync is off; M-x mailsync-start starts it")
    (let ((buffer (current-buffer)))
      (setq mode-line-process ": asking")
      (mailsync-folders-ask "folders" mailsync-folders--account t
                            (lambda (rows)
                              (when (buffer-live-p buffer)
                                (with-current-buffer buffer
                                  (mailsync-folders--fill rows))))))))

(defun mailsync-folders--fill (rows)
  "Fill this buffer with ROWS, those of the engine."
  (let ((table (make-hash-table :test #'equal :size (length rows)))
        (accounts (make-hash-table :test #'equal)))
    (dolist (row rows)
      (puthash (mailsync-folders-row-account row) t accounts)
      (puthash (mailsync-folders--key row) row table))
    ;; Of an account without a maildir only Gnus knows the folders, and who has
    ;; heard of them.
    (dolist (known (mailsync-history-folders mailsync-folders--account))
      (unless (gethash (mailsync-history-folder-account known) accounts)
        (let ((row (mailsync-folders--make-row
                    :account (mailsync-history-folder-account known)
                    :name (mailsync-history-folder-name known)
                    :directory (mailsync-history-folder-directory known)
                    :truename (mailsync-history-folder-truename known))))
          (puthash (mailsync-folders--key row) row table))))
    (setq mailsync-folders--rows table)
    (clrhash mailsync-folders--news)
    (setq mailsync-folders--stale nil
          ;; It is newer than what was told of these accounts.
          mailsync-folders--waiting
          (append (seq-filter #'mailsync-folders--matters-p rows)
                  (and mailsync-folders--account
                       (seq-remove (lambda (row)
                                     (equal (mailsync-folders-row-account row)
                                            mailsync-folders--account))
                                   mailsync-folders--waiting))))
    (mailsync-folders--set-format (mailsync-folders--format))
    (mailsync-folders--print-all)))

(defun mailsync-folders--print-all ()
  "Write all rows of this buffer anew, sorted."
  (let ((rows nil))
    (maphash (lambda (_ row) (push row rows)) mailsync-folders--rows)
    (mailsync-folders--begin (nreverse rows) nil)))

;;;; Written in pieces

(defun mailsync-folders--begin (rows order)
  "Begin to write ROWS, which this buffer will show when that is done.
They are sorted as the user has said, or stay as they are if ORDER is non-nil."
  (mailsync-folders--forget)
  (setq mailsync-folders--work (mailsync-folders--make-work rows order))
  (add-hook 'kill-buffer-hook #'mailsync-folders--forget nil t)
  (mailsync-folders--go-on (current-buffer)))

(defun mailsync-folders--forget ()
  "Give up what is being written for this buffer."
  (when (timerp mailsync-folders--work-timer)
    (cancel-timer mailsync-folders--work-timer))
  (when mailsync-folders--work
    (let ((text (mailsync-folders-work-text mailsync-folders--work)))
      (when (buffer-live-p text)
        (kill-buffer text))))
  (setq mailsync-folders--work-timer nil
        mailsync-folders--work nil))

(defun mailsync-folders--go-on (buffer)
  "Go on with what is being written for BUFFER, for a moment."
  (when (buffer-live-p buffer)
    (with-current-buffer buffer
      (setq mailsync-folders--work-timer nil)
      (when mailsync-folders--work
        (mailsync-folders--do-some (+ (float-time) mailsync-folders--slice))
        (when (and mailsync-folders--work (not mailsync-folders--work-timer))
          (setq mailsync-folders--work-timer
                (run-at-time (if (bound-and-true-p isearch-mode)
                                 mailsync-folders--period
                               mailsync-folders--pause)
                             nil #'mailsync-folders--go-on buffer)))))))

(defun mailsync-folders--finish ()
  "Finish at once what is being written for this buffer."
  (while mailsync-folders--work
    (mailsync-folders--do-some 1.0e+INF)))

(defun mailsync-folders--do-some (end)
  "Go on with what is being written for this buffer, until END at most."
  (let ((work mailsync-folders--work))
    (cond
     ((mailsync-folders-work-rows work)
      (mailsync-folders--look-at-rows work end))
     ((null (mailsync-folders-work-text work))
      (mailsync-folders--sort work)))
    (when (mailsync-folders-work-text work)
      (mailsync-folders--write-lines work end)
      (cond
       ((mailsync-folders-work-lines work))
       ;; It would lose its way.
       ((bound-and-true-p isearch-mode))
       ;; The user has sorted what is shown meanwhile.
       ((not (eq (mailsync-folders-work-key work) tabulated-list-sort-key))
        (mailsync-folders--begin
         (mapcar (lambda (entry) (gethash (car entry) mailsync-folders--rows))
                 (mailsync-folders-work-entries work))
         nil))
       (t
        (mailsync-folders--show work)
        (mailsync-folders--forget))))))

(defun mailsync-folders--look-at-rows (work end)
  "See what the columns of WORK's rows say, until END at most."
  (let ((mailsync-folders--times (mailsync-folders-work-times work))
        (rows (mailsync-folders-work-rows work))
        (entries (mailsync-folders-work-entries work))
        (now 0.0))
    (while (and rows (< now end))
      ;; To ask for the time costs something, too.
      (dotimes (_ 10)
        (when-let ((row (pop rows)))
          (let ((key (mailsync-folders--key row)))
            ;; What comes from now on is news.
            (remhash key mailsync-folders--news)
            (push (setf (mailsync-folders-row-entry row)
                        (list key (mailsync-folders--columns row)))
                  entries))))
      (setq now (float-time)))
    (setf (mailsync-folders-work-rows work) rows
          (mailsync-folders-work-entries work) entries)
    (when (and (null rows) (< now end))
      (mailsync-folders--sort work))))

(defun mailsync-folders--sort (work)
  "Sort WORK, the columns of which are known."
  (let ((sorter (and (not (mailsync-folders-work-order work))
                     (tabulated-list--get-sorter)))
        (entries (nreverse (mailsync-folders-work-entries work))))
    (when sorter
      (setq entries (sort entries sorter)))
    (setf (mailsync-folders-work-entries work) entries
          (mailsync-folders-work-lines work) entries
          (mailsync-folders-work-text work)
          (generate-new-buffer " *mailsync-folders*"))))

(defun mailsync-folders--write-lines (work end)
  "Write lines of WORK, until END at most."
  (let ((format tabulated-list-format)
        (line mailsync-folders--line)
        (lines (mailsync-folders-work-lines work))
        ;; A few in any case, however late it is.
        (now 0.0)
        (inhibit-modification-hooks t))
    (with-current-buffer (mailsync-folders-work-text work)
      (while (and lines (< now end))
        (dotimes (_ 10)
          (when-let ((entry (pop lines)))
            (mailsync-folders--write (car entry) (cadr entry) format line)))
        (setq now (float-time))))
    (setf (mailsync-folders-work-lines work) lines)))

(defun mailsync-folders--show (work)
  "Show WORK, which is written; point and windows stay at their lines."
  (let* ((inhibit-read-only t)
         (windows (get-buffer-window-list nil nil t))
         (place (mailsync-folders--place-at (point)))
         (mark (and (mark t) (mailsync-folders--place-at (mark t))))
         (places (mapcar (lambda (window)
                           (list window
                                 (mailsync-folders--place-at
                                  (window-point window))
                                 (mailsync-folders--place-at
                                  (window-start window))))
                         windows)))
    ;; To copy it would cost more than to have written it.
    (buffer-swap-text (mailsync-folders-work-text work))
    (set-buffer-modified-p nil)
    (setq tabulated-list-entries (mailsync-folders-work-entries work)
          mode-line-process (format ": %s%d folders"
                                    (if mailsync-folders--account
                                        (concat mailsync-folders--account ", ")
                                      "")
                                    (length tabulated-list-entries)))
    (when mark
      (set-marker (mark-marker) (mailsync-folders--place-again mark)))
    (pcase-dolist (`(,window ,point ,start) places)
      (set-window-point window (mailsync-folders--place-again point))
      (set-window-start window (mailsync-folders--place-again start) t))
    (goto-char (mailsync-folders--place-again place))))

(defun mailsync-folders--place-at (position)
  "Where POSITION is: (ID LINE COLUMN)."
  (save-excursion
    (goto-char position)
    (list (get-text-property position 'tabulated-list-id)
          (line-number-at-pos)
          (- position (line-beginning-position)))))

(defun mailsync-folders--place-again (place)
  "The position of PLACE now; that of its line, if its folder is gone."
  (pcase-let ((`(,id ,line ,column) place))
    (save-excursion
      (let* ((row (and id (gethash id mailsync-folders--rows)))
             (found (and row (text-property-any
                              (point-min) (point-max) 'tabulated-list-id
                              (mailsync-folders--key row)))))
        (if found
            (goto-char found)
          (goto-char (point-min))
          (forward-line (1- line)))
        (min (+ (point) column) (line-end-position))))))

;;;; Up to date

(defun mailsync-folders--reprint ()
  "Write the entries of this buffer; point and windows stay at their lines."
  (let ((starts (mapcar (lambda (window)
                          (cons window
                                (get-text-property (window-start window)
                                                   'tabulated-list-id)))
                        (get-buffer-window-list nil nil t))))
    (tabulated-list-print t)
    (pcase-dolist (`(,window . ,id) starts)
      (when-let ((position (and id (text-property-any
                                    (point-min) (point-max)
                                    'tabulated-list-id id))))
        (set-window-start window position t)))))

(defun mailsync-folders--update ()
  "Bring the rows of this buffer of which there is news up to date."
  (cond
   ((null mailsync-folders--rows))
   ;; What it has looked at already may have news again.
   (mailsync-folders--work
    (mailsync-folders-refresh-soon))
   ((not (mailsync-folders--take-news))
    ;; A folder came to be: where it belongs, the engine says.
    (mailsync-folders--ask))
   ((<= (hash-table-count mailsync-folders--news) mailsync-folders--few)
    (mailsync-folders--update-rows mailsync-folders--news))
   (t
    (mailsync-folders--begin
     (mapcar (lambda (entry) (gethash (car entry) mailsync-folders--rows))
             tabulated-list-entries)
     t)
    (mailsync-folders-refresh-soon))))

(defun mailsync-folders--take-news ()
  "Note in the rows of this buffer what waits now; nil if a row is missing.
News of what this buffer does not list is none."
  (let ((waiting (make-hash-table :test #'equal))
        (complete t)
        others)
    (dolist (row mailsync-folders--waiting)
      (puthash (mailsync-folders--key row) row waiting))
    (maphash
     (lambda (key _)
       (if (not (or (null mailsync-folders--account)
                    (equal (car key) mailsync-folders--account)))
           (push key others)
         (let ((row (gethash key mailsync-folders--rows))
               (now (gethash key waiting)))
           (if (null row)
               (setq complete nil)
             ;; What was synced since, the history knows.
             (setf (mailsync-folders-row-letters row)
                   (and now (mailsync-folders-row-letters now))
                   (mailsync-folders-row-aside row)
                   (and now (mailsync-folders-row-aside now)))))))
     mailsync-folders--news)
    (dolist (key others)
      (remhash key mailsync-folders--news))
    complete))

(defun mailsync-folders--update-rows (keys)
  "Write the rows of KEYS anew, those of a hash table, if they say something else.
KEYS is empty then."
  (let ((mailsync-folders--times (make-hash-table :test #'eql))
        (inhibit-read-only t)
        (inhibit-modification-hooks t)
        (points (mapcar (lambda (window) (cons window (window-point window)))
                        (get-buffer-window-list nil nil t)))
        (here (point))
        (position (point-min)))
    (while (and position (< position (point-max))
                (not (zerop (hash-table-count keys))))
      (let* ((key (get-text-property position 'tabulated-list-id))
             (row (and key (gethash key keys)
                       (gethash key mailsync-folders--rows))))
        (when row
          (remhash key keys)
          (let ((columns (mailsync-folders--columns row)))
            (unless (equal-including-properties
                     columns (cadr (mailsync-folders-row-entry row)))
              (setf (cadr (mailsync-folders-row-entry row)) columns)
              (goto-char position)
              (let ((old (line-beginning-position 2)))
                (delete-region position old)
                (mailsync-folders--print key columns)
                ;; All columns but the last one are as wide as they were.
                (let ((longer (- (point) old)))
                  (dolist (it points)
                    (when (>= (cdr it) old)
                      (setcdr it (+ (cdr it) longer))))
                  (when (>= here old)
                    (setq here (+ here longer))))))))
        (setq position (next-single-property-change position
                                                    'tabulated-list-id))))
    ;; What is in no row any more.
    (clrhash keys)
    (set-buffer-modified-p nil)
    (goto-char (min here (point-max)))
    (pcase-dolist (`(,window . ,point) points)
      (set-window-point window point))))

;;;; The last changes

(defvar mailsync-history-mode-map
  (let ((map (make-composed-keymap nil mailsync-list-mode-map)))
    (define-key map (kbd "RET") #'mailsync-history-say)
    (define-key map "w" #'mailsync-history-copy)
    map)
  "Keymap of the list of changes.")

(define-derived-mode mailsync-history-mode mailsync-list-mode "Mailsync-History"
  "Major mode of the list of the last changes, and of what became of them.
The columns after the time say who changed what, and how many seconds later
Gnus was told, the check was done, and the sync.  What the syncer has written
itself needs no sync; a folder that was only looked at says \"anything\".

\\{mailsync-history-mode-map}"
  (setq tabulated-list-sort-key nil)
  (setq-local revert-buffer-function
              (lambda (&rest _) (mailsync-folders--fill-history))))

;;;###autoload
(defun mailsync-history ()
  "Show the last changes with their whole story: seen, told, checked, synced.
While it is shown it is kept up to date."
  (interactive)
  (pop-to-buffer (get-buffer-create mailsync-folders--history))
  (unless (derived-mode-p 'mailsync-history-mode)
    (mailsync-history-mode))
  (mailsync-folders--fill-history))

(defun mailsync-folders--fill-history ()
  "Write the last changes into this buffer."
  (mailsync-folders--set-format
   (vector (list "Seen" 12 t)
                (list "Folder" (mailsync-folders--wide 65) t)
                (list "Account" 8 t)
                (list "What" 10 t)
                (list "By" 6 t)
                (list "Told" 6 nil)
                (list "Checked" 8 nil)
                (list "Synced" 6 nil)))
  (setq tabulated-list-entries
        (mapcar (lambda (story)
                  (list story (mailsync-folders--story story)))
                (mailsync-history-stories)))
  (mailsync-folders--reprint))

(defun mailsync-folders--after (story time)
  "How many seconds after STORY was noticed TIME came, \"\" for nil."
  (if time
      (format "+%.2f" (max 0 (- time (mailsync-history-story-seen story))))
    ""))

(defun mailsync-folders--story (story)
  "What the columns of STORY say, a vector of strings."
  (let ((checked (mailsync-folders--after
                  story (mailsync-history-story-checked story)))
        (result (mailsync-history-story-result story))
        (status (mailsync-history-story-status story)))
    (vector
     (mailsync-history-clock (mailsync-history-story-seen story) t)
     (or (mailsync-history-story-folder story)
         (mailsync-history-many (mailsync-history-story-count story)))
     (mailsync-history-story-account story)
     (mailsync-history-kinds (mailsync-history-story-kinds story))
     (mailsync-history-origins (mailsync-history-story-origins story))
     (mailsync-folders--after story (mailsync-history-story-told story))
     (cond
      ((equal checked "") "waits")
      ((memq result '(nil checked)) checked)
      ((eq result 'failed) (propertize "failed" 'face 'mailsync-trouble))
      (t (mailsync-history-result result)))
     (cond
      ((mailsync-history-story-synced story)
       (mailsync-folders--after story (mailsync-history-story-synced story)))
      (status (propertize (symbol-name status) 'face 'mailsync-trouble))
      (t "")))))

(defun mailsync-history--story-here ()
  "The story at point."
  (let ((story (tabulated-list-get-id)))
    (unless (mailsync-history-story-p story)
      (user-error "There is no change at point"))
    story))

(defun mailsync-history-say ()
  "Say the story of the change at point in full, in the echo area."
  (interactive)
  (message "%s" (mailsync-history-tell (mailsync-history--story-here))))

(defun mailsync-history-copy ()
  "Put the story of the change at point on the kill ring, as a sentence."
  (interactive)
  (kill-new (mailsync-history-tell (mailsync-history--story-here)))
  (mailsync-history-say))

;;;; Up to date

(defun mailsync-folders-news (keys)
  "There is news of the folders with KEYS: note it for the lists."
  (mailsync-folders--note keys)
  (dolist (key keys)
    ;; One that was deleted: the engine says which there are.
    (unless (gethash key mailsync-history--folders)
      (setq mailsync-folders--stale t))))

(defun mailsync-folders--note (keys)
  "The rows of KEYS may have to say something else."
  ;; What no buffer shows needs no notes; it is filled when it is shown.
  (if (get-buffer-window mailsync-folders--buffer 'visible)
      (dolist (key keys)
        (puthash key t mailsync-folders--news))
    (setq mailsync-folders--stale t)
    (clrhash mailsync-folders--news)))

(defun mailsync-folders-synced (account names)
  "The folders of ACCOUNT in NAMES, a hash table or nil for all, were synced."
  (let ((buffer (get-buffer mailsync-folders--buffer)) keys)
    (when-let ((rows (and buffer (buffer-local-value 'mailsync-folders--rows
                                                     buffer))))
      (maphash (lambda (key row)
                 (when (and (equal (car key) account)
                            (or (null names)
                                (gethash (mailsync-folders-row-name row) names)))
                   (push key keys)))
               rows)
      (mailsync-folders--note keys))))

(defun mailsync-folders--shown ()
  "The buffers among mailsync's lists that a window shows."
  ;; This comes with each batch of changes.
  (let ((shown nil))
    (dolist (name (list mailsync-folders--history mailsync-folders--buffer))
      (when (get-buffer-window name 'visible)
        (push name shown)))
    shown))

(defun mailsync-folders-refresh-soon (&optional seconds)
  "Bring the lists up to date in a moment, those that a window shows.
That is in SECONDS, or as soon as they may be."
  (when (and (not mailsync-folders--timer) (mailsync-folders--shown))
    (setq mailsync-folders--timer
          (run-at-time (or seconds mailsync-folders--period) nil
                       #'mailsync-folders--refresh))))

(defun mailsync-folders--refresh ()
  "Bring the lists up to date, those that a window shows still."
  (setq mailsync-folders--timer nil)
  (dolist (name (mailsync-folders--shown))
    (with-current-buffer name
      (condition-case err
          (cond
           ;; It would lose its way.
           ((bound-and-true-p isearch-mode) (mailsync-folders-refresh-soon))
           ((equal name mailsync-folders--history)
            (mailsync-folders--fill-history))
           ((not mailsync-mode))
           (mailsync-folders--stale
            (mailsync-folders--ask))
           (t
            (mailsync-folders--update)
            (when (zerop (hash-table-count mailsync-folders--news))
              (mailsync-folders-look))))
        (error
         (mailsync--once (list 'status name) 'error
                         "%s cannot be brought up to date: %s" name
                         (error-message-string err)))))))

(defun mailsync-folders--refresh-folders ()
  "Bring the list of folders up to date, if a window shows it."
  (when (get-buffer-window mailsync-folders--buffer 'visible)
    (with-current-buffer mailsync-folders--buffer
      (mailsync-folders--update))))

(provide 'mailsync-folders)
;;; mailsync-folders.el ends here
