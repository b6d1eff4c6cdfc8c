;;; mailsync-history-test.el --- Stories, the lists, and the status of folders  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What is kept of changes, checks and syncs, and how the lists and the status
;; show it, with the real engine where what it says matters.

;;; Code:

(require 'mailsync-sync-test-helper)
(require 'imenu)

(defmacro history-test-with (&rest body)
  "Run BODY with an empty history."
  `(let ((mailsync-history--folders (make-hash-table :test #'equal))
         (mailsync-history--accounts (make-hash-table :test #'equal))
         (mailsync-history--of-changes (make-hash-table :test #'eq))
         (mailsync-history--stories nil)
         (mailsync-history--syncs (make-hash-table :test #'equal))
         (mailsync-history-sync-functions nil)
         (mailsync-history-functions nil))
     ,@body))

(defun history-test-change (folder &rest keys)
  "A change of FOLDER of \"w\", new and from here but for KEYS."
  (append keys
          (list :account "w" :folder folder :directory (concat "/m/" folder)
                :truename (concat "/m/" folder) :kinds '(new) :origins '(local)
                :serial 1 :seen 1000.0)))

(defun history-test-story ()
  "The last story, in short."
  (let ((story (car (mailsync-history-stories))))
    (list (mailsync-history-story-folder story)
          (mailsync-history-story-count story)
          (and (mailsync-history-story-checked story)
               (or (mailsync-history-story-result story) 'done))
          (and (mailsync-history-story-synced story)
               (format "%.1f" (mailsync-history-story-synced story)))
          (mailsync-history-story-status story))))

(defun history-test-synced (started status &optional folders)
  "A sync of FOLDERS (nil: all) of \"w\" that began at STARTED ended with STATUS."
  (mailsync-history-synced "w" (list :status status :folders folders
                                     :started (seconds-to-time started)
                                     :duration 2.0)
                           (length folders)))

;;;; What is kept

(ert-deftest history-test-a-story ()
  "Seen, told, checked, synced, in the words that the user reads."
  (history-test-with
   (let ((changes (list (history-test-change "a"))))
     (cl-letf (((symbol-function 'float-time)
                (let ((real (symbol-function 'float-time)) (now 1000.2))
                  (lambda (&optional time)
                    (if time (funcall real time)
                      (prog1 now (setq now 1000.25)))))))
       (mailsync-history-changed "w" changes)
       (should (equal (history-test-story) '("a" 1 nil nil nil)))
       (should (string-match-p "told Gnus \\+0.20 s, waits for its check\\'"
                               (mailsync-history-tell
                                (car (mailsync-history-stories)))))
       (mailsync-history-checked "w" changes '(("a" . checked))))
     (should (equal (history-test-story) '("a" 1 checked nil nil)))
     ;; One that began before the change does not cover it, nor one of others.
     (history-test-synced 999.0 'ok)
     (history-test-synced 1001.0 'ok '("b"))
     (should (equal (history-test-story) '("a" 1 checked nil nil)))
     (history-test-synced 1001.0 'transient '("a"))
     (should (equal (history-test-story) '("a" 1 checked nil transient)))
     (should (string-match-p ", its sync failed (transient)\\'"
                             (mailsync-history-tell
                              (car (mailsync-history-stories)))))
     (history-test-synced 1001.4 'ok '("a" "b"))
     (should (equal (history-test-story) '("a" 1 checked "1003.4" ok)))
     (should (equal (mailsync-history-tell (car (mailsync-history-stories)))
                    (concat "w: a: new (here), seen "
                            (format-time-string "%T.%3N" 1000.0)
                            ", told Gnus +0.20 s, checked +0.25 s, synced +3.40 s")))
     ;; A later one is of later changes.
     (history-test-synced 1010.0 'ok '("a"))
     (should (equal (history-test-story) '("a" 1 checked "1003.4" ok))))))

(ert-deftest history-test-what-needs-no-sync ()
  "What the syncer has written, and what was only looked at, waits for none."
  (pcase-dolist (`(,keys ,expected)
                 '(((:origins (sync)) nil)
                   ((:origins (sync local)) ok)
                   ((:origins (remote)) ok)
                   ((:kinds (unknown)) nil)
                   ((:kinds (unknown new)) ok)
                   (nil ok)))
    (history-test-with
     (mailsync-history-changed "w" (list (apply #'history-test-change "a" keys)))
     (history-test-synced 1001.0 'ok)
     (should (eq (nth 4 (history-test-story)) expected)))))

(ert-deftest history-test-many-looks-are-one-story ()
  "A check of everything does not push all other stories out."
  (history-test-with
   (let ((changes (mapcar (lambda (number)
                            (history-test-change (format "f%d" number)
                                                 :kinds '(unknown)))
                          (number-sequence 1 50))))
     (mailsync-history-changed "w" (list (history-test-change "a")))
     (mailsync-history-changed "w" (cons (history-test-change "b") changes))
     (should (= 3 (length (mailsync-history-stories))))
     (should (equal (history-test-story) '(nil 50 nil nil nil)))
     ;; What went wrong with one of them stays in it.
     (let ((results (mapcar (lambda (change)
                              (cons (plist-get change :folder) 'checked))
                            changes)))
       (setf (alist-get "f7" results nil nil #'equal) 'failed)
       (mailsync-history-checked "w" changes results))
     (should (equal (history-test-story) '(nil 50 failed nil nil)))
     (should (= 2 (hash-table-count mailsync-history--of-changes))))))

(ert-deftest history-test-bounded ()
  "There are at most so many stories, and entries for the folders that there are."
  (history-test-with
   (let ((mailsync-history-size 10))
     (dotimes (number 25)
       (mailsync-history-changed
        "w" (list (history-test-change (format "f%d" (% number 3))))))
     (should (= 10 (length (mailsync-history-stories))))
     (should (= 10 (hash-table-count mailsync-history--of-changes)))
     (setq mailsync-history-size 4)
     (mailsync-history-changed "w" (list (history-test-change "last")))
     (should (equal (mapcar #'mailsync-history-story-folder
                            (mailsync-history-stories))
                    '("last" "f0" "f2" "f1"))))
   (should (= 4 (length (mailsync-history-folders))))
   (let ((gone (list (history-test-change "f0" :kinds '(folder-deleted)))))
     (mailsync-history-changed "w" gone)
     (mailsync-history-checked "w" gone '(("f0" . no-group))))
   (should-not (mailsync-history-folder "w" "/m/f0"))
   (should (= 3 (length (mailsync-history-folders "w"))))
   (history-test-synced 1001.0 'ok)
   (should (equal (mailsync-history-sync "w" "f1")
                  '(1003.0 . ok)))
   (history-test-synced 1002.0 'timeout '("f1"))
   (should (equal (mailsync-history-sync "w" "f1")
                  '(1004.0 . timeout)))
   (should (equal (mailsync-history-sync "w" "f2")
                  '(1003.0 . ok)))
   ;; One of everything stands for all that came before.
   (history-test-synced 1005.0 'ok)
   (should (equal (mailsync-history-sync "w" "f1") '(1007.0 . ok)))
   (should (zerop (hash-table-count mailsync-history--syncs)))
   (history-test-synced 1006.0 'timeout '("f1"))
   (mailsync-history-keep '("v"))
   (should (zerop (hash-table-count mailsync-history--syncs)))
   (should-not (mailsync-history-folders))
   (should (zerop (hash-table-count mailsync-history--accounts)))))

(ert-deftest history-test-an-error-stops-no-check ()
  "Whatever goes wrong in the history, what changed is checked."
  (test-with-mailsync '(".a") nil
    (test-watching "w")
    (cl-letf (((symbol-function 'mailsync-history-changed)
               (lambda (&rest _) (error "Oh dear")))
              ((symbol-function 'mailsync-history-checked)
               (lambda (&rest _) (error "Oh dear"))))
      (test-deliver (expand-file-name ".a" root))
      (test-wait (lambda () (test-changed "a" 'new)))
      (test-wait (lambda () (zerop (mailsync--pending)))))
    (should (string-match-p "internal error in .mailsync-history-changed" (test-log)))))

;;;; With the engine

(defun history-test-row (folder)
  "The line of FOLDER in the list, without runs of spaces."
  (with-current-buffer mailsync-folders--buffer
    (save-excursion
      (goto-char (point-min))
      (and (re-search-forward (concat "^" (regexp-quote folder) " ") nil t)
           (replace-regexp-in-string
            " +" " " (buffer-substring-no-properties (line-beginning-position)
                                                     (line-end-position)))))))

(defun history-test-list (&optional account)
  "Show the list (of ACCOUNT), and wait until it is there."
  (when (get-buffer mailsync-folders--buffer)
    (kill-buffer mailsync-folders--buffer))
  (mailsync-folders account)
  (test-wait (lambda ()
               (with-current-buffer mailsync-folders--buffer
                 (string-match-p "folders\\'" (format "%s" mode-line-process))))))

(ert-deftest history-test-whole-story ()
  "From a delivery to its sync, by the engine; the lists and the status show it."
  (sync-test-with "exit 0" `(mailsync-command ,program "%f")
    (setq mailsync-history--stories nil)
    (save-window-excursion
      (history-test-list)
      (should (history-test-row "INBOX"))
      (should (string-match-p "\\`a w " (history-test-row "a")))
      (test-deliver (expand-file-name ".a" mail))
      (sync-test-wait 1)
      (let ((story (test-wait
                    (lambda ()
                      (let ((story (car (mailsync-history-stories))))
                        (and story (mailsync-history-story-synced story)
                             story))))))
        (should (equal (mailsync-history-story-folder story) "a"))
        (should (equal (mailsync-history-story-kinds story) '(new)))
        (should (equal (mailsync-history-story-origins story) '(local)))
        (should (eq (mailsync-history-story-result story) 'not-running))
        (let ((times (list (mailsync-history-story-seen story)
                           (mailsync-history-story-told story)
                           (mailsync-history-story-checked story)
                           (mailsync-history-story-synced story))))
          (should (equal times (sort (copy-sequence times) #'<)))))
      ;; The row follows by itself.
      (test-wait (lambda ()
                   (string-match-p
                    "\\`a w [0-9:]+ new here no Gnus [0-9:]+ \\'"
                    (history-test-row "a"))))
      (mailsync-history)
      (goto-char (point-min))
      (should (looking-at "[0-9:.]+ a +w +new +here +\\+[0-9.]+ +no Gnus +\\+[0-9.]+"))
      (mailsync-history-copy)
      (should (string-match-p "\\`w: a: new (here), seen .* while Gnus was off .*synced"
                              (current-kill 0)))
      (mailsync-status)
      ;; What waited a moment ago may still be shown.
      (test-wait (lambda ()
                   (string-match-p
                    (concat "^  folders: 3 in all\n"
                            "    a: new (here) at [0-9:]+, no Gnus, synced$")
                    (with-current-buffer mailsync-status--buffer
                      (buffer-string))))))))

(ert-deftest history-test-keys-of-folders ()
  "A folder is synced, checked and visited where point is at it."
  (sync-test-with "exit 0" `(mailsync-command ,program "%f")
    (save-window-excursion
      (history-test-list "w")
      (with-current-buffer mailsync-folders--buffer
        (goto-char (point-min))
        (re-search-forward "^b c ")
        (should (equal (plist-get (mailsync-status-folder-here) :directory)
                       (expand-file-name ".b c" mail)))
        (funcall (lookup-key mailsync-folders-mode-map "s"))
        (should (equal (plist-get (sync-test-wait 1) :folders) '("b c")))
        (should (equal (sync-test-calls root) '("run <b c>")))
        (setq test-changes nil)
        (funcall (lookup-key mailsync-folders-mode-map "c"))
        (should (equal (mapcar (lambda (change) (plist-get change :folder))
                               test-changes)
                       '("b c")))
        (should-error (funcall (lookup-key mailsync-folders-mode-map (kbd "RET")))
                      :type 'user-error)
        (should (equal (mapcar #'car (funcall imenu-create-index-function))
                       '("INBOX" "a" "b c")))
        (goto-char (point-max))
        (should-error (mailsync-status-visit) :type 'user-error)))))

(ert-deftest history-test-list-follows ()
  "Folders come and go, others wait; point and windows stay."
  (sync-test-with "while [ -e busy ]; do sleep 0.05; done; exit 0"
      `(mailsync-command ,program "%f")
    (let ((busy (expand-file-name "busy" root)))
      (write-region "" nil busy nil 'silent)
      (save-window-excursion
        (history-test-list)
        (switch-to-buffer mailsync-folders--buffer)
        (goto-char (point-min))
        (re-search-forward "^b c")
        (test-deliver (expand-file-name ".a" mail))
        (test-wait (lambda ()
                     (string-match-p "\\`a w syncing " (history-test-row "a"))))
        (test-deliver (expand-file-name ".b c" mail))
        (test-wait (lambda ()
                     (string-match-p "\\`b c w sync " (history-test-row "b c"))))
        (should (looking-back "^b c" (line-beginning-position)))
        (delete-file busy)
        (test-wait (lambda ()
                     (string-match-p "\\`b c w [0-9:]+ new here no Gnus [0-9:]+"
                                     (history-test-row "b c"))))
        (test-maildir (expand-file-name ".new" mail))
        (test-wait (lambda () (history-test-row "new")))
        (should (looking-back "^b c" (line-beginning-position)))
        (delete-directory (expand-file-name ".new" mail) t)
        (test-wait (lambda () (not (history-test-row "new"))))
        (should (looking-back "^b c" (line-beginning-position)))))))

(ert-deftest history-test-thousands ()
  "Of many rows each is there, what changes is written, and nothing else moves."
  (let ((mailsync-mode t) (rows nil))
    (dotimes (number 3000)
      (push (mailsync-folders--make-row
             :account "w" :name (format "lists/%04d" number)
             :directory (format "/m/%04d" number)
             :truename (format "/m/%04d" number))
            rows))
    (history-test-with
     (save-window-excursion
       (let ((mailsync--unchecked (make-hash-table :test #'equal)))
         (switch-to-buffer (get-buffer-create mailsync-folders--buffer))
         (mailsync-folders-mode)
         (mailsync-folders--fill (nreverse rows))
         (mailsync-folders--finish)
         (should (= 3000 (count-lines (point-min) (point-max))))
         (goto-char (point-min))
         (forward-line 1500)
         (forward-char 3)
         (let ((old (buffer-substring-no-properties (line-beginning-position)
                                                    (line-end-position))))
           (dolist (number '(3 1500 2999))
             (let ((key (cons "w" (format "/m/%04d" number))))
               (puthash key 1 mailsync--unchecked)
               (puthash key t mailsync-folders--news)))
           (while (not (zerop (hash-table-count mailsync-folders--news)))
             (mailsync-folders--update))
           (should (= 3 (current-column)))
           (should (= 1501 (line-number-at-pos)))
           (should-not (equal old (buffer-substring-no-properties
                                   (line-beginning-position)
                                   (line-end-position)))))
         (should (= 3 (how-many " check " (point-min) (point-max))))
         ;; All of them, in slices.
         (let ((slices 0) (mailsync-folders--slice 0.001))
           (maphash (lambda (key _)
                      (puthash key 1 mailsync--unchecked)
                      (puthash key t mailsync-folders--news))
                    mailsync-folders--rows)
           (while (not (zerop (hash-table-count mailsync-folders--news)))
             (mailsync-folders--update)
             ;; The timer would.
             (while mailsync-folders--work
               (mailsync-folders--go-on (current-buffer))
               (setq slices (1+ slices))))
           (should (> slices 1)))
         (should (= 3000 (how-many " check " (point-min) (point-max))))
         (should (= 1501 (line-number-at-pos)))
         ;; Sorted by what they wait for, and back.
         (remhash (cons "w" "/m/0007") mailsync--unchecked)
         (mailsync-folders--print-all)
         (mailsync-folders--finish)
         (should (= 1501 (line-number-at-pos)))
         (setq tabulated-list-sort-key '("Waits for" . t))
         (mailsync-folders--print-all)
         (mailsync-folders--finish)
         (goto-char (point-min))
         (should (looking-at "lists/0007 ")))
       (when (timerp mailsync-folders--timer)
         (cancel-timer mailsync-folders--timer)
         (setq mailsync-folders--timer nil))
       (kill-buffer mailsync-folders--buffer)))))

(defmacro history-test-with-rows (count &rest body)
  "Run BODY in the list of COUNT folders, shown in a window, with `mailsync-mode' on."
  (declare (indent 1))
  `(let ((mailsync-mode t)
         (mailsync--unchecked (make-hash-table :test #'equal))
         (mailsync-folders--news (make-hash-table :test #'equal))
         (mailsync-folders--waiting nil)
         (rows nil))
     (dotimes (number ,count)
       (push (mailsync-folders--make-row
              :account "w" :name (format "lists/%04d" number)
              :directory (format "/m/%04d" number) :truename (format "/m/%04d" number))
             rows))
     (history-test-with
      (save-window-excursion
        (switch-to-buffer (get-buffer-create mailsync-folders--buffer))
        (delete-other-windows)
        (unwind-protect
            (progn
              (mailsync-folders-mode)
              (mailsync-folders--fill (nreverse rows))
              (mailsync-folders--finish)
              ,@body)
          (kill-buffer mailsync-folders--buffer)
          (when (timerp mailsync-folders--timer)
            (cancel-timer mailsync-folders--timer)
            (setq mailsync-folders--timer nil)))))))

(defun history-test-news (&rest numbers)
  "The folders with NUMBERS wait for a check now, and that is news."
  (dolist (number numbers)
    (let ((key (cons "w" (format "/m/%04d" number))))
      (puthash key 1 mailsync--unchecked)
      (puthash key t mailsync-folders--news))))

(ert-deftest history-test-in-pieces ()
  "While many rows are written the old ones are shown; nothing that happens meanwhile is lost."
  (history-test-with-rows 1000
    (should (= 1000 (count-lines (point-min) (point-max))))
    (goto-char (point-min))
    (forward-line 500)
    (forward-char 8)
    (push-mark (line-beginning-position 100) t)
    (set-window-start (selected-window) (line-beginning-position -5) t)
    (redisplay)
    (let ((start (get-text-property (window-start) 'tabulated-list-id))
          (mailsync-folders--slice 0))
      (apply #'history-test-news (number-sequence 0 899))
      (mailsync-folders--update)
      (should mailsync-folders--work)
      (dotimes (_ 30)
        (mailsync-folders--go-on (current-buffer)))
      ;; The old ones, with the keys that belong to them.
      (should (= 0 (how-many " check " (point-min) (point-max))))
      (should (equal (plist-get (mailsync-status-folder-here) :folder) "lists/0500"))
      (should (equal (get-text-property (point) 'mailsync-account) "w"))
      ;; One that was looked at already, and one that was not.
      (remhash '("w" . "/m/0003") mailsync--unchecked)
      (puthash '("w" . "/m/0003") t mailsync-folders--news)
      (history-test-news 999)
      ;; Not before the rest is there.
      (mailsync-folders--update)
      (should (= 0 (how-many " check " (point-min) (point-max))))
      (while mailsync-folders--work
        (mailsync-folders--go-on (current-buffer)))
      (should-not (get-buffer " *mailsync-folders*"))
      (while (not (zerop (hash-table-count mailsync-folders--news)))
        (mailsync-folders--update)
        (mailsync-folders--finish))
      (should (= 900 (how-many " check " (point-min) (point-max))))
      (should (looking-back "^lists/05" (line-beginning-position)))
      (should (= 501 (line-number-at-pos)))
      (should (= 600 (line-number-at-pos (mark t))))
      (should (equal start (get-text-property (window-start) 'tabulated-list-id)))
      (should-not (buffer-modified-p)))))

(ert-deftest history-test-sorted-meanwhile ()
  "Who sorts the list while it is written finds it sorted when it is written."
  (history-test-with-rows 1000
    (let ((mailsync-folders--slice 0))
      (apply #'history-test-news (number-sequence 0 999 2))
      (mailsync-folders--update)
      (should mailsync-folders--work)
      (goto-char (point-min))
      (mailsync-list-sort)
      (mailsync-list-sort)
      (goto-char (point-min))
      (should (looking-at "lists/0999 "))
      (mailsync-folders--finish)
      (goto-char (point-min))
      (should (looking-at "lists/0999 "))
      (should (= 500 (how-many " check " (point-min) (point-max)))))
    ;; One that is gone from the list is in no row and does no harm.
    (mailsync-folders--begin nil t)
    (mailsync-folders--finish)
    (should (= (point-min) (point-max)))))

(ert-deftest history-test-sort-by-column ()
  "S sorts by the column at point, wherever in it point is, and then the other way round."
  (history-test-with-rows 30
    (history-test-news 7)
    (mailsync-folders--update)
    (dolist (header '("Folder" "Account" "Waits for" "Changed" "What" "Checked" "Synced" "Groups"))
      (goto-char (point-min))
      (let ((start 0))
        (catch 'found
          (dotimes (index (length tabulated-list-format))
            (when (equal (car (aref tabulated-list-format index)) header)
              (throw 'found nil))
            (setq start (+ start 1 (nth 1 (aref tabulated-list-format index))))))
        (move-to-column start)
        (call-interactively #'mailsync-list-sort)
        (should (equal (car tabulated-list-sort-key) header))))
    (goto-char (point-min))
    (move-to-column (+ 1 (nth 1 (aref tabulated-list-format 0))
                       1 (nth 1 (aref tabulated-list-format 1))))
    (should (eq (lookup-key mailsync-folders-mode-map "S") 'tabulated-list-sort))
    (should (eq (command-remapping 'tabulated-list-sort) 'mailsync-list-sort))
    (call-interactively #'mailsync-list-sort)
    (goto-char (point-min))
    (should (looking-at "lists/0007 "))))

(ert-deftest history-test-odd-names ()
  "Whatever is in a name, a row is one line, and columns stand below each other."
  (history-test-with
   (let ((mailsync--unchecked (make-hash-table :test #'equal)) (mailsync-mode t))
     (with-temp-buffer
       (mailsync-folders-mode)
       (mailsync-folders--fill
        (mapcar (lambda (name)
                  (mailsync-folders--make-row :account "w" :name name
                                              :directory name :truename name))
                (list "plain" "with\nnewline" "Entwürfe" "日本語の長いフォルダの名前です"
                      "percent%s" (make-string 100 ?x))))
       (mailsync-folders--finish)
       (should (= 6 (count-lines (point-min) (point-max))))
       (goto-char (point-min))
       (let (columns)
         (while (not (eobp))
           (re-search-forward " w " (line-end-position))
           (push (current-column) columns)
           (forward-line))
         (should (= 1 (length (delete-dups columns)))))))))

;;;; The status

(defun history-test-accounts ()
  "What the status shows of accounts."
  (save-excursion
    (goto-char (point-min))
    (search-forward "\nGnus:")
    (buffer-substring-no-properties (point-min) (point))))

(ert-deftest history-test-status-items ()
  "Keys go from one item to the next; accounts fold; imenu has an index."
  (sync-test-with "exit 0" `(mailsync-command ,program "%f")
    (setq mailsync-accounts
          (append mailsync-accounts
                  `(("v" :maildir ,(test-maildir (expand-file-name "other" root))))))
    (mailsync-restart)
    (test-watching "v" "w")
    (setq mailsync-history--stories nil)
    (test-deliver (expand-file-name ".a" mail))
    (sync-test-wait 1)
    (save-window-excursion
      (mailsync-status)
      (goto-char (point-min))
      (let ((at (lambda ()
                  (list (get-text-property (point) 'mailsync-item)
                        (get-text-property (point) 'mailsync-account)))))
        (should (equal (mapcar (lambda (_)
                                 (mailsync-status-next)
                                 (funcall at))
                               '(1 2 3 4 5))
                       '((account "w") (folders "w") (folder "w") (account "v")
                         (account "w"))))
        (mailsync-status-previous)
        (should (equal (funcall at) '(account "v")))
        (mailsync-status-next-account)
        (should (equal (funcall at) '(account "w")))
        (let ((index (funcall imenu-create-index-function)))
          (should (equal (mapcar #'car index) '("w" "v" "Folders")))
          (should (equal (mapcar #'car (cdr (nth 2 index))) '("w: a"))))
        ;; Folded, point is at its line, and all else stays.
        (let ((whole (history-test-accounts)))
          (mailsync-status-open)
          (should (looking-at-p "w: watching \\.\\.\\.$"))
          (should (string-match-p "^v: watching\n  " (buffer-string)))
          (should-not (string-match-p "^  folders" (buffer-string)))
          (mailsync-status-open)
          (should (equal whole (history-test-accounts))))
        (mailsync-status-next)
        (mailsync-status-open)
        (should (equal (buffer-name) mailsync-folders--buffer))
        (should (equal mailsync-folders--account "w"))))))

(ert-deftest history-test-wrong-options ()
  "An option of a wrong type is said, once and by its name, and stops nothing."
  (dolist (wrong '(zz "3" -1 2.5 (1 . 2)))
    (history-test-with
     (let ((mailsync-history-size wrong)
           (mailsync-status-folders wrong)
           (mailsync--said nil)
           (said nil))
       (cl-letf (((symbol-function 'mailsync--say)
                  (lambda (&rest args) (push (apply #'format args) said))))
         (dotimes (_ 2)
           (mailsync-history-changed "w" (list (history-test-change "a")))
           (with-temp-buffer
             (mailsync-status--folders "w" '((:folders 1)))
             (should (string-search "a: new (here)" (buffer-string))))))
       (should (= 2 (length said)))
       (should (string-search "mailsync-history-size" (cadr said)))
       (should (string-search "mailsync-status-folders" (car said)))))))

(ert-deftest history-test-status-shows-what-waits ()
  "Folders with which something is the matter come first, failed ones before all."
  (history-test-with
   (let ((mailsync--unchecked (make-hash-table :test #'equal))
         (mailsync-status-folders 2)
         (mailsync-folders--waiting
          (list (mailsync-folders--make-row
                 :account "w" :name "waits" :truename "/m/waits" :letters '(?w))
                (mailsync-folders--make-row
                 :account "w" :name "open" :truename "/m/open" :letters '(?u))
                (mailsync-folders--make-row
                 :account "w" :name "bad" :truename "/m/bad"
                 :aside "mailbox is locked"))))
     (puthash '("w" . "/m/waits") 1 mailsync--unchecked)
     (mailsync-history-changed "w" (list (history-test-change "a")))
     (with-temp-buffer
       (mailsync-status--folders "w" '((:folders 9)))
       (should (equal (buffer-string)
                      (concat "  folders: 9 in all, 1 waits for its check, \
1 is to be synced, 1 is to be pushed, 1 failed\n"
                              "    bad: failed: mailbox is locked\n"
                              "    waits: waits for its check and a sync\n"))))
     (setq mailsync-folders--waiting nil)
     (clrhash mailsync--unchecked)
     (with-temp-buffer
       (mailsync-status--folders "w" '((:folders 9)))
       (should (string-match-p (concat "\\`  folders: 9 in all\n"
                                       "    a: new (here) on 1970-01-01 at [0-9:]+\n\\'")
                               (buffer-string))))
     (with-temp-buffer
       (mailsync-status--folders "v" '((:folders 9)))
       (should (equal (buffer-string) ""))))))

(ert-deftest history-test-what-failed-alone-is-not-synced ()
  "Nothing says so of a folder that failed, though the run went well for others."
  (history-test-with
   (let ((mailsync--unchecked (make-hash-table :test #'equal))
         (mailsync-folders--waiting nil))
     (mailsync-history-changed "w" (list (history-test-change "a")))
     (history-test-synced 1001.0 'partial)
     (with-temp-buffer
       (mailsync-status--folders "w" '((:folders 9)))
       (should (string-search ", synced" (buffer-string))))
     (let ((row (mailsync-folders--make-row
                 :account "w" :name "a" :truename "/m/a" :directory "/m/a"
                 :aside "mailbox is locked")))
       (should-not (string-search "synced" (mailsync-folders--say row)))
       (setq mailsync-folders--waiting (list row))
       (with-temp-buffer
         (mailsync-status--folders "w" '((:folders 9)))
         (should (string-search "failed: mailbox is locked" (buffer-string)))
         (should-not (string-search "synced" (buffer-string))))))))

(ert-deftest history-test-status-shows-the-last-check ()
  "Of a folder that was checked again, with all others or late, no older result."
  (let ((changes (mapcar (lambda (number)
                           (history-test-change (format "f%d" number)
                                                :kinds '(unknown)))
                         (number-sequence 1 6)))
        (mailsync--running (list t))
        (mailsync--unchecked (make-hash-table :test #'equal))
        (mailsync-folders--waiting nil))
    (pcase-dolist
        (`(,again ,first ,second ,expected)
         `((many no-group checked "checked") (many failed checked "checked")
           (many checked no-group "no group") (many checked failed "check failed")
           (late no-group checked "checked") (late not-running no-group "no group")
           (late checked failed "check failed")))
      (history-test-with
       (let* ((change (history-test-change "f1"))
              (shown (lambda ()
                       (with-temp-buffer
                         (mailsync-status--folders "w" '((:folders 9)))
                         (goto-char (point-min))
                         (re-search-forward "    f1: .* at [0-9:]+\\(?:, \\(.*\\)\\)?$")
                         (match-string-no-properties 1)))))
         (mailsync-history-changed "w" (list change))
         (should-not (funcall shown))
         (mailsync-history-checked "w" (list change) `(("f1" . ,first)))
         (should-not (equal (funcall shown) expected))
         (if (eq again 'late)
             ;; It may have been merged with others.
             (mailsync--checked-late "w" (copy-sequence change) second)
           (mailsync-history-changed "w" changes)
           (should-not (equal (funcall shown) expected))
           (mailsync-history-checked "w" changes
                                     (cons `("f1" . ,second)
                                           (mapcar (lambda (change)
                                                     (cons (plist-get change :folder)
                                                           'checked))
                                                   (cdr changes)))))
         (should (equal (funcall shown) expected))
         ;; A change is told as it was.
         (should (eq (mailsync-history-story-result
                      (car (last (mailsync-history-stories))))
                     first)))))))

(ert-deftest history-test-point-stays-at-its-folder ()
  "Also when another folder comes above it."
  (let ((text (lambda (&rest folders)
                (propertize
                 (concat "\nw: x\n"
                         (mapconcat (lambda (folder)
                                      (propertize (format "    %s: y\n" folder)
                                                  'mailsync-folder
                                                  (list :account "w"
                                                        :truename folder)))
                                    folders ""))
                 'mailsync-account "w")))
        shown)
    (cl-letf (((symbol-function 'mailsync-status--text) (lambda () shown)))
      (with-temp-buffer
        (setq shown (funcall text "a" "b"))
        (mailsync-status--fill)
        (goto-char (point-min))
        (search-forward "a: ")
        (setq shown (funcall text "c" "a" "b"))
        (mailsync-status--fill)
        (should (looking-back "^    a: " (line-beginning-position)))
        (setq shown (funcall text "c" "b"))
        (mailsync-status--fill)
        (should (equal (get-text-property (point) 'mailsync-account) "w"))))))

(ert-deftest history-test-long-command-lines ()
  "A watcher's command line fits into a line; the mouse shows all of it."
  (let ((what "ssh -o BatchMode=yes -o ServerAliveInterval=15 mail.example.org mailsync-watch"))
    (with-temp-buffer
      (mailsync-remote-insert (list :what what :state 'connected :text "" :since 0.0))
      (goto-char (point-min))
      (should (looking-at "  server, by \\(ssh -o BatchMode=.*….*sync-watch\\): connected since [0-9:]+\n"))
      (should (= (string-width (match-string 1)) mailsync-remote--what-width))
      (should (< (save-excursion (end-of-line) (current-column)) 80))
      (should (equal (get-text-property (match-beginning 1) 'help-echo) what)))
    (dolist (row '(("short" 10 "short") ("0123456789" 5 "01…89") ("0123456789" 6 "012…89")))
      (should (equal (mailsync-log-shorten (car row) (nth 1 row)) (nth 2 row))))))

(ert-deftest history-test-option ()
  "The key goes to where the account is configured."
  (let* ((file (make-temp-file "init" nil ".el" "(setq x 1)\n(setq mailsync-accounts
      '((\"other\" :maildir \"~/a\")
        (\"w\" :maildir \"~/b\")))\n"))
         (user-init-file file) (custom-file nil))
    (unwind-protect
        (save-window-excursion
          (pcase-dolist (`(,account ,there) '(("w" "(\"w\" :maildir")
                                              ("nobody" "(setq mailsync-accounts")
                                              (nil "(setq mailsync-accounts")))
            (with-temp-buffer
              (insert (propertize "x" 'mailsync-account account))
              (goto-char (point-min))
              (mailsync-status-option))
            (set-buffer (get-file-buffer file))
            (should (looking-at-p (regexp-quote there))))
          (kill-buffer (get-file-buffer file)))
      (delete-file file))))

(ert-deftest history-test-function-names ()
  "What stands in a hook in the place of a function is shown, for it has to be found."
  (dolist (row `((my-function "my-function") (,(lambda ()) "An anonymous function")
                 ("my-function" "\"my-function\"") ((a . b) "(a . b)")))
    (should (equal (format "%s" (mailsync--function-name (car row))) (cadr row)))))

(ert-deftest history-test-faults-in-their-order ()
  "The status has what is wrong with the accounts in the order of these."
  (let ((mailsync-mode t)
        (mailsync-accounts--faults '("the second" "the first")))
    (cl-letf (((symbol-function 'mailsync-module--status)
               (lambda () (list :accounts nil :threads 1 :delivered 0))))
      (should (string-match-p "the first\n+the second" (mailsync-status--text))))))

(provide 'mailsync-history-test)
;;; mailsync-history-test.el ends here
